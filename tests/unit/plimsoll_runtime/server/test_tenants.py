"""Whose request it is: by key, or by a gateway's header; and what a tenant can ask for."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from plimsoll_runtime.core.queue import QueueCount
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.app import create_app
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.tokenizer import Tokenizer
from tests.unit.plimsoll_runtime.server.conftest import SpokenModel

FAIRNESS_ID = "x-llm-d-inference-fairness-id"
CHAT = "sk-chat-0001"


@pytest.fixture
def keyed(tmp_path: Path, engine: Engine, tokenizer: Tokenizer) -> Iterator[FastAPI]:
    file = tmp_path / "keys"
    file.write_text(f"chat:{CHAT}\nbatch:sk-batch-0001\n")
    app = create_app(
        engine, tokenizer, ServerSettings(("tiny",), "r", api_key="sesame", api_key_file=file)
    )
    yield app
    app.state.context.close()


@asynccontextmanager
async def held(
    app: FastAPI, spoken: SpokenModel, headers: dict[str, str], **body: Any
) -> AsyncIterator[tuple[QueueCount, ...]]:
    """Sends a request with nine sequences to an engine with eight places; who waits then."""
    spoken.gate.clear()
    transport = httpx.ASGITransport(app)
    prompts = {"prompt": [[9] * 3] * 9, "max_tokens": 1}
    engine = app.state.context.engine
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        answer = asyncio.ensure_future(
            http.post("/v1/completions", json=prompts | body, headers=headers)
        )
        while engine.stats().num_running + engine.stats().num_waiting < 9:
            await asyncio.sleep(0.001)
            if answer.done():
                pytest.fail(answer.result().text)
        yield engine.stats().waiting
        spoken.gate.set()
        assert (await answer).status_code == 200


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_a_named_keys_tenant_cannot_be_chosen_otherwise(
    keyed: FastAPI, spoken: SpokenModel
) -> None:
    async with held(keyed, spoken, bearer(CHAT) | {FAIRNESS_ID: "other"}) as waiting:
        assert {each.tenant for each in waiting} == {"chat"}


async def test_without_a_named_key_the_gateways_header_says_it(
    keyed: FastAPI, app: FastAPI, spoken: SpokenModel
) -> None:
    async with held(keyed, spoken, bearer("sesame") | {FAIRNESS_ID: "acme"}) as waiting:
        assert {each.tenant for each in waiting} == {"acme"}
    async with held(app, spoken, {"x-gateway-inference-fairness-id": "acme"}) as waiting:
        assert {each.tenant for each in waiting} == {"acme"}
    async with held(app, spoken, {}) as waiting:
        assert {each.tenant for each in waiting} == {""}


async def test_a_long_name_is_shortened_and_stays_its_own(
    app: FastAPI, spoken: SpokenModel
) -> None:
    tenants = set()
    for name in ("a" * 500, "a" * 499, "a" * 64):
        async with held(app, spoken, {FAIRNESS_ID: name}) as waiting:
            tenants |= {each.tenant for each in waiting}
    assert len(tenants) == 3
    assert {len(tenant) for tenant in tenants} == {64}


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
async def test_every_path_but_the_open_ones_needs_a_key_of_the_file(
    keyed: FastAPI, path: str
) -> None:
    body: dict[str, Any] = {"prompt": "x", "messages": [{"role": "user", "content": "x"}]}
    transport = httpx.ASGITransport(keyed)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        for key in ("", "wrong", "chat", f"chat:{CHAT}"):
            assert (await http.post(path, json=body, headers=bearer(key))).status_code == 401
        for key in ("sesame", CHAT, "sk-batch-0001"):
            assert (await http.post(path, json=body, headers=bearer(key))).status_code == 200
        assert (await http.get("/livez")).status_code == 200


async def test_priority_reaches_the_queue(app: FastAPI, spoken: SpokenModel) -> None:
    async with held(app, spoken, {}, priority=-7) as waiting:
        assert {each.priority for each in waiting} == {-7}


@pytest.mark.parametrize("priority", [101, -101, 1.5, "1", True])
async def test_a_priority_out_of_bounds_is_400(http: httpx.AsyncClient, priority: Any) -> None:
    response = await http.post("/v1/completions", json={"prompt": "x", "priority": priority})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "priority"

"""Memory and identity across requests, and who may ask."""

import ast
import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import plimsoll_runtime
from plimsoll_runtime.core.request import Request
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.app import create_app
from plimsoll_runtime.server.middleware import OPEN_PATHS
from plimsoll_runtime.server.operations import OPERATIONS
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.tokenizer import Tokenizer
from tests.unit.plimsoll_runtime.server.refusals import (
    CHAT,
    COMPLETIONS,
    DETOKENIZE,
    EMBEDDINGS,
    RESPONSES,
    USER,
    Refused,
)


@pytest.mark.parametrize("token", [2048, 2**31, 2**63, -1])
async def test_token_ids_beyond_the_vocabulary(refused: Refused, token: int) -> None:
    await refused(COMPLETIONS, {"prompt": [1, token]})
    await refused(COMPLETIONS, {"prompt": "x", "stop_token_ids": [token]})
    await refused(COMPLETIONS, {"prompt": "x", "logit_bias": {str(token): 1}})
    await refused(COMPLETIONS, {"prompt": "x", "allowed_token_ids": [token]})
    await refused(DETOKENIZE, {"tokens": [token]})


async def test_a_request_id_of_a_client_names_nobody(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say("mine")
    headers = {"x-request-id": "same"}
    answers = await asyncio.gather(
        *(http.post(COMPLETIONS, json={"prompt": "x"}, headers=headers) for _ in range(4))
    )
    assert len({answer.json()["id"] for answer in answers}) == 4
    assert all(answer.json()["choices"][0]["text"] == "mine" for answer in answers)


async def test_keys_and_salts_part_the_cache(
    http: httpx.AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    salts: list[str] = []
    submit = engine.submit

    def record(request: Request, *rest: Any) -> None:
        salts.append(request.cache_salt)
        submit(request, *rest)

    monkeypatch.setattr(engine, "submit", record)
    for path, body in (
        (COMPLETIONS, {"prompt": "x"}),
        (CHAT, {"messages": [USER]}),
        (RESPONSES, {"input": "x"}),
        (EMBEDDINGS, {"input": "x"}),
    ):
        salts.clear()
        for headers in ({}, {"authorization": "Bearer a"}, {"authorization": "Bearer b"}):
            for salt in (None, "s", "t"):
                await http.post(path, json={**body, "cache_salt": salt}, headers=headers)
        assert len(set(salts)) == 9
        assert all("Bearer" not in each for each in salts)


async def test_every_path_but_probes_and_metrics_needs_the_key(
    engine: Engine, tokenizer: Tokenizer
) -> None:
    app = create_app(engine, tokenizer, ServerSettings(("tiny",), "r", api_key="sesame"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        for method, path in OPERATIONS:
            where = path.replace("{name}", "tiny")
            for headers in ({}, {"host": "server/livez?"}, {"x-forwarded-for": "127.0.0.1"}):
                response = await http.request(method, where, headers=headers)
                assert (response.status_code == 401) == (path not in OPEN_PATHS), (method, path)
        for path in ("/v1/", "/docs", "/redoc", "/pause", "/v1/load_lora_adapter", "/livez/"):
            assert (await http.get(path)).status_code == 401
    app.state.context.close()


async def test_nothing_of_the_server_is_in_what_it_refuses(refused: Refused) -> None:
    for body in (
        {"prompt": {"__class__": {"__init__": {"__globals__": 1}}}},
        {"prompt": "x", "temperature": {"a": "b" * 1000}},
        {"prompt": "x", "stop": {"a": [object.__name__]}},
        {"model": "a" * 200, "prompt": "x"},
    ):
        response = await refused(COMPLETIONS, body)
        assert "plimsoll_runtime" not in response.text
        assert "/home" not in response.text


def test_checks_hold_without_assertions() -> None:
    """`python -O` takes every assert away."""
    root = Path(plimsoll_runtime.__file__).parent
    for path in root.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        assert not [each for each in ast.walk(tree) if isinstance(each, ast.Assert)], path

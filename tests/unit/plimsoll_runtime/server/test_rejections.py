"""What would wait too long is turned away with a time to come back, and leaves nothing behind."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from plimsoll_runtime.core.admission import AdmissionRules
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.app import create_app
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.tokenizer import Tokenizer
from tests.unit.plimsoll_runtime.server.conftest import SpokenModel

PATH = "/v1/completions"
TTFT = "x-llm-d-slo-ttft-ms"
FAIRNESS_ID = "x-llm-d-inference-fairness-id"


@pytest.fixture
def settings() -> ServerSettings:
    """Four may wait; the engine has eight places."""
    return ServerSettings(("tiny",), "r", admission=AdmissionRules(max_queue_len=4))


@pytest.fixture
def app(engine: Engine, tokenizer: Tokenizer, settings: ServerSettings) -> Iterator[FastAPI]:
    app = create_app(engine, tokenizer, settings)
    yield app
    app.state.context.close()


@asynccontextmanager
async def busy(
    http: httpx.AsyncClient, app: FastAPI, spoken: SpokenModel, sequences: int
) -> AsyncIterator[None]:
    """After one answer, so that steps were measured, `sequences` of one tenant run or wait."""
    spoken.token_ids = [9] * 30
    warm = await http.post(PATH, json={"prompt": [9], "max_tokens": 20})
    assert warm.status_code == 200
    spoken.gate.clear()
    body = {"prompt": [[9] * 5] * sequences, "max_tokens": 20}
    held = asyncio.ensure_future(http.post(PATH, json=body))
    engine = app.state.context.engine
    while engine.stats().num_running < min(8, sequences):
        await asyncio.sleep(0.001)
    yield
    spoken.gate.set()
    assert (await held).status_code == 200
    while engine.stats().num_running + engine.stats().num_waiting:
        await asyncio.sleep(0.001)
    assert app.state.context.client.num_unfinished == 0


async def ask(http: httpx.AsyncClient, headers: Any = None, **body: Any) -> httpx.Response:
    return await http.post(
        PATH, json={"prompt": [9] * 5, "max_tokens": 2} | body, headers=headers or {}
    )


async def rejected(http: httpx.AsyncClient) -> dict[str, float]:
    """Counts by reason, without zeros."""
    text = (await http.get("/metrics")).text
    return {
        sample.labels["reason"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "plimsoll:requests_rejected_total" and sample.value
    }


async def test_a_full_queue_is_429(
    http: httpx.AsyncClient, app: FastAPI, spoken: SpokenModel
) -> None:
    async with busy(http, app, spoken, 12):
        unfinished = app.state.context.client.num_unfinished
        response = await ask(http)
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1
        assert response.headers["x-llm-d-request-dropped-reason"] == "queue_full"
        error = response.json()["error"]
        assert (error["type"], error["code"]) == ("RateLimitError", "rate_limit_exceeded")
        assert error["message"].startswith("4 sequences wait and the queue is for 4: send")
        assert app.state.context.client.num_unfinished == unfinished
        assert await rejected(http) == {"queue_full": 1}
    assert (await ask(http)).status_code == 200


async def test_a_stream_is_turned_away_before_it_begins(
    http: httpx.AsyncClient, app: FastAPI, spoken: SpokenModel
) -> None:
    async with busy(http, app, spoken, 12):
        response = await ask(http, stream=True)
        assert response.status_code == 429
        assert response.headers["content-type"] == "application/json"


async def test_n_and_lists_of_prompts_count_as_their_sequences(
    http: httpx.AsyncClient, app: FastAPI, spoken: SpokenModel
) -> None:
    async with busy(http, app, spoken, 10):
        assert (await ask(http, n=3)).status_code == 429
        assert (await ask(http, prompt=[[9]] * 3)).status_code == 429
        assert await rejected(http) == {"queue_full": 2}
        fitting = asyncio.ensure_future(ask(http, n=2))
        while app.state.context.client.num_unfinished < 12:
            await asyncio.sleep(0.001)
        assert (await ask(http)).status_code == 429
        spoken.gate.set()
        assert (await fitting).status_code == 200


async def test_another_tenant_still_enters_a_full_queue(
    http: httpx.AsyncClient, app: FastAPI, spoken: SpokenModel
) -> None:
    async with busy(http, app, spoken, 12):
        light = asyncio.ensure_future(ask(http, {FAIRNESS_ID: "light"}))
        while app.state.context.client.num_unfinished < 13:
            await asyncio.sleep(0.001)
        text = (await http.get("/metrics")).text
        labels = 'engine="0",model_name="tiny",priority="0",tenant="light"'
        assert f"plimsoll:num_requests_waiting{{{labels}}} 1.0" in text
        spoken.gate.set()
        assert (await light).status_code == 200


async def test_a_client_that_would_not_wait_that_long_is_told_at_once(
    http: httpx.AsyncClient, app: FastAPI, spoken: SpokenModel
) -> None:
    async with busy(http, app, spoken, 10):
        response = await ask(http, {TTFT: "0.001"})
        assert response.status_code == 429
        assert response.headers["x-llm-d-request-dropped-reason"] == "queue_wait"
        assert "would wait about" in response.json()["error"]["message"]
        patient = asyncio.ensure_future(ask(http, {TTFT: "60000"}))
        while app.state.context.client.num_unfinished < 11:
            await asyncio.sleep(0.001)
        spoken.gate.set()
        assert (await patient).status_code == 200
        assert await rejected(http) == {"queue_wait": 1}
    assert (await ask(http, {TTFT: "0.001"})).status_code == 200, "an idle engine has places"


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf", "1e999"])
async def test_an_objective_that_is_none_is_400(http: httpx.AsyncClient, value: str) -> None:
    response = await ask(http, {TTFT: value})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == TTFT


async def test_a_draining_server_refuses_only_what_it_could_not_begin(
    http: httpx.AsyncClient, app: FastAPI, spoken: SpokenModel
) -> None:
    lifecycle = app.state.context.lifecycle
    lifecycle.ending = True
    lifecycle.deadline = time.monotonic() + 60
    async with busy(http, app, spoken, 10):
        served = asyncio.ensure_future(ask(http))
        while app.state.context.client.num_unfinished < 11:
            await asyncio.sleep(0.001)
        lifecycle.deadline = time.monotonic()
        response = await ask(http)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.json()["error"]["type"] == "ServiceUnavailableError"
        assert await rejected(http) == {"draining": 1}
        spoken.gate.set()
        assert (await served).status_code == 200

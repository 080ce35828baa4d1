import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from openai.types import Model

from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.app import create_app
from plimsoll_runtime.server.middleware import MAX_BODY_BYTES
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.tokenizer import Tokenizer
from tests.unit.plimsoll_runtime.server.conftest import SpokenModel
from tests.unit.plimsoll_runtime.server.sse import events

JSON = {"content-type": "application/json"}
PATHS = ("/v1/completions", "/v1/chat/completions")
HOSTILE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"0",
    b'"x"',
    b"{}",
    b'{"prompt": "x", "prompt": "y"}',
    b'{"prompt": "\xff\xfe"}',
    b'{"prompt": "\\ud800"}',
    b'{"prompt": "x", "temperature": NaN}',
    b'{"prompt": "x", "temperature": 1e999}',
    b'{"prompt": "x", "max_tokens": -1}',
    b'{"prompt": "x", "max_tokens": ' + b"9" * 400 + b"}",
    b'{"prompt": "x", "max_tokens": ' + b"9" * 5000 + b"}",
    b'{"prompt": "x", "seed": 1e400}',
    b'{"prompt": "x", "n": 1000000}',
    b'{"prompt": "x", "best_of": 1000000}',
    b'{"prompt": "x", "logprobs": 100000}',
    b'{"prompt": "x", "min_tokens": 100, "max_tokens": 5}',
    b'{"prompt": "x", "stop": ["(a+)+b"], "temperature": "0"}',
    b'{"prompt": "x", "stop": [""]}',
    b'{"prompt": "x", "stop_token_ids": [99999999]}',
    b'{"prompt": [99999999]}',
    b'{"prompt": [-1]}',
    b'{"prompt": [[[1]]]}',
    b'{"prompt": ' + b"[" * 500 + b"]" * 500 + b"}",
    b'{"prompt": ' + b"[" * 100000 + b"]" * 100000 + b"}",
    b'{"messages": "x"}',
    b'{"messages": [null]}',
    b'{"messages": [{"role": "user", "content": {"__class__": 1}}]}',
    b'{"messages": [{"role": "user", "content": "x"}], "chat_template": "{{ 1 }}"}',
    b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "file:///"}]}]}',
    b'{"model": "../../etc/passwd", "prompt": "x", "messages": [{"role": "user", "content": ""}]}',
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", HOSTILE)
async def test_hostile_bodies_are_refused_and_harm_nobody(
    http: httpx.AsyncClient,
    engine: Engine,
    say: Callable[[str], list[int]],
    path: str,
    body: bytes,
) -> None:
    say("fine")
    response = await http.post(path, content=body, headers=JSON)
    assert response.status_code in (400, 404), response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert " at 0x" not in error["message"]
    after = await http.post("/v1/completions", json={"prompt": "x"})
    assert after.json()["choices"][0]["text"] == "fine"
    assert engine.failed is None


@pytest.mark.parametrize("path", PATHS)
async def test_only_json_is_read(http: httpx.AsyncClient, path: str) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        response = await http.post(path, content=b"{}", headers={"content-type": kind})
        assert response.status_code == 415
        assert "application/json" in response.json()["error"]["message"]


async def test_a_body_may_have_4_mib_and_no_more(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say("ok")
    body = json.dumps({"prompt": "x", "user": "u" * MAX_BODY_BYTES}).encode()
    exact = body[: len(body) - MAX_BODY_BYTES - 2] + b"u" * (MAX_BODY_BYTES - 100) + b'"}'
    assert len(exact) <= MAX_BODY_BYTES
    accepted = await http.post(PATHS[0], content=exact, headers=JSON)
    assert accepted.status_code == 200, accepted.text

    async def unannounced() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 2**16):
            yield body[start : start + 2**16]

    for content in (body, unannounced()):
        response = await http.post(PATHS[0], content=content, headers=JSON)
        assert response.status_code == 413
        assert response.json()["error"]["type"] == "RequestTooLargeError"
        assert response.headers["connection"] == "close"


async def test_unknown_paths_and_methods_are_openai_errors(http: httpx.AsyncClient) -> None:
    for method, path, status in (("GET", "/v2", 404), ("GET", PATHS[0], 405), ("GET", "/", 404)):
        response = await http.request(method, path)
        assert response.status_code == status
        assert path in response.json()["error"]["message"]
        assert len(response.headers["x-request-id"]) == 32


async def test_other_models_are_not_found(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say("ok")
    for path in PATHS:
        body = {"prompt": "x", "messages": [{"role": "user", "content": "x"}]}
        response = await http.post(path, json=body | {"model": "gpt-9"})
        assert response.status_code == 404
        error = response.json()["error"]
        assert (error["param"], error["code"]) == ("model", "model_not_found")
        assert "tiny, alias" in error["message"]
        for name in ("alias", None):
            assert (await http.post(path, json=body | {"model": name})).status_code == 200


async def test_models_lists_every_name(http: httpx.AsyncClient) -> None:
    listed = (await http.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert [Model.model_validate(each).id for each in listed["data"]] == ["tiny", "alias"]
    assert listed["data"][0]["max_model_len"] == 256
    assert listed["data"][0]["root"] == "builtin://tiny"
    assert (await http.get("/v1/models/alias")).json() == listed["data"][1]
    missing = await http.get("/v1/models/org/other")
    assert missing.status_code == 404
    assert "'org/other'" in missing.json()["error"]["message"]


async def test_request_ids_are_the_servers_own(http: httpx.AsyncClient) -> None:
    seen = {
        (await http.get("/v1/models", headers={"x-request-id": "mine"})).headers["x-request-id"]
        for _ in range(3)
    }
    assert len(seen) == 3
    assert "mine" not in seen


async def test_probes_say_what_the_engine_does(
    http: httpx.AsyncClient, app: FastAPI, engine: Engine
) -> None:
    for path in ("/startupz", "/livez", "/readyz", "/health", "/ping"):
        response = await http.get(path)
        assert response.status_code == 200
        assert response.text == ("" if path in ("/health", "/ping") else "ok\n")
    assert (await http.post("/ping")).status_code == 200
    allowed = (await http.delete("/ping")).headers["allow"]
    assert sorted(allowed.split(", ")) == ["GET", "POST"]
    app.state.context.lifecycle.ending = True
    for path, status in (("/readyz", 503), ("/health", 503), ("/livez", 200), ("/startupz", 200)):
        response = await http.get(path)
        assert response.status_code == status
        assert response.headers["connection"] == "close"
    engine.stop()
    assert (await http.get("/readyz")).status_code == 503


async def test_a_stuck_step_fails_liveness(
    http: httpx.AsyncClient, spoken: SpokenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plimsoll_runtime.server.health.MAX_STALL", 0.05)
    spoken.gate.clear()
    request = asyncio.ensure_future(http.post(PATHS[0], json={"prompt": "x"}))
    while (response := await http.get("/livez")).status_code == 200:
        await asyncio.sleep(0.01)
    assert "no step for" in response.text
    spoken.gate.set()
    assert (await request).status_code == 200
    assert (await http.get("/livez")).status_code == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_failed_engine_fails_requests_and_liveness(
    http: httpx.AsyncClient, spoken: SpokenModel, engine: Engine
) -> None:
    spoken.broken = True
    for _ in range(3):
        response = await http.post(PATHS[0], json={"prompt": "x"})
        assert response.status_code == 500
        assert response.json()["error"]["type"] == "InternalServerError"
        assert "broken" not in response.text
    while engine.failed is None:
        await asyncio.sleep(0.01)
    assert (await http.get("/livez")).status_code == 503
    assert (await http.get("/readyz")).status_code == 503
    assert (await http.post(PATHS[0], json={"prompt": "x"})).status_code == 503


async def test_an_error_in_mid_stream_is_an_event(
    http: httpx.AsyncClient, spoken: SpokenModel, say: Callable[[str], list[int]]
) -> None:
    say("one two three")
    wanted = spoken.token_ids

    class Breaking(list[int]):
        def __getitem__(self, index: Any) -> Any:
            if index == 2:
                raise RuntimeError("secret detail at 0x7f00")
            return wanted[index]

    spoken.token_ids = Breaking(wanted)
    response = await http.post(PATHS[0], json={"prompt": "x", "stream": True})
    assert response.status_code == 200
    *chunks, last = events(response)
    assert chunks
    assert last["error"]["type"] == "InternalServerError"
    assert "secret" not in response.text


async def test_with_a_key_everything_but_probes_and_metrics_needs_it(
    engine: Engine, tokenizer: Tokenizer, settings: ServerSettings
) -> None:
    app = create_app(engine, tokenizer, ServerSettings(("tiny",), "r", api_key="sesame"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        for path in ("/startupz", "/livez", "/readyz", "/health", "/ping", "/metrics"):
            assert (await http.get(path)).status_code == 200
        for path in (
            "/v1/models",
            "/version",
            "/nothing",
            "/metrics/",
            "//metrics",
            "/v1/%2e%2e/livez",
        ):
            for headers in (
                {},
                {"authorization": "Bearer wrong"},
                {"authorization": "Bearer sesam"},
                {"authorization": "Bearer sesamee"},
                {"authorization": "Bearer "},
                {"authorization": "Bearer ses\u00e4me".encode("latin-1")},
                {"authorization": "Basic sesame"},
                {"authorization": "sesame"},
                {"host": "server/livez?"},
                {"x-api-key": "sesame"},
            ):
                response = await http.get(path, headers=headers)
                assert response.status_code == 401, (path, headers)
                assert response.json()["error"]["code"] == "invalid_api_key"
                assert response.headers["www-authenticate"] == "Bearer"
        allowed = {"authorization": "Bearer sesame"}
        assert (await http.get("/v1/models", headers=allowed)).status_code == 200
        assert (await http.get("/version", headers=allowed)).json()["version"]
    app.state.context.close()


async def test_too_many_sequences_are_turned_away(
    http: httpx.AsyncClient,
    app: FastAPI,
    spoken: SpokenModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("plimsoll_runtime.server.admission.MAX_UNFINISHED", 4)
    spoken.gate.clear()
    waiting = asyncio.ensure_future(http.post(PATHS[0], json={"prompt": "x", "n": 4}))
    while app.state.context.client.num_unfinished < 4:
        await asyncio.sleep(0.001)
    response = await http.post(PATHS[0], json={"prompt": "x"})
    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"
    spoken.gate.set()
    assert (await waiting).status_code == 200
    assert (await http.post(PATHS[0], json={"prompt": "x"})).status_code == 200

"""For tests of the mistakes that inference servers are known for: what must be refused, and how.

Every input is sent while the engine is held in the middle of a step that a neighbour waits for, so
an answer shows that none was needed of the engine; then the neighbour must get every token of its.
"""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from plimsoll_runtime.engine.engine import Engine
from tests.unit.plimsoll_runtime.server.sse import events

COMPLETIONS, CHAT, RESPONSES = "/v1/completions", "/v1/chat/completions", "/v1/responses"
EMBEDDINGS, TOKENIZE, DETOKENIZE = "/v1/embeddings", "/tokenize", "/detokenize"
USER: dict[str, Any] = {"role": "user", "content": "x"}
JSON = {"content-type": "application/json"}
SECONDS = 5.0
"""Of this process's CPU time, with room for a slow machine. Most take a millisecond."""
NEIGHBOUR = "the neighbour's answer, 東京 😀, whole"

Refused = Callable[..., Awaitable[httpx.Response]]


@asynccontextmanager
async def refusals(
    http: httpx.AsyncClient, app: FastAPI, engine: Engine, gate: threading.Event, ids: list[int]
) -> AsyncIterator[Refused]:
    """Sends what must be refused at once, whatever the engine does behind its closed `gate`.

    `ids` are those of NEIGHBOUR, which the model says.
    """
    gate.clear()
    body = {"prompt": "neighbour", "stream": True, "max_tokens": 200, "return_token_ids": True}
    stream = asyncio.ensure_future(http.post(COMPLETIONS, json=body))
    while app.state.context.client.num_unfinished == 0:
        await asyncio.sleep(0.001)

    async def send(
        path: str, body: object, param: str | None = None, headers: dict[str, str] = JSON
    ) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        start = time.process_time()
        response = await http.post(path, content=content, headers=headers)
        assert time.process_time() - start < SECONDS
        assert 400 <= response.status_code < 500, response.text
        error = response.json()["error"]
        assert error["message"]
        assert "0x" not in error["message"]
        assert "Traceback" not in response.text
        assert len(response.content) < 2000
        if param is not None:
            assert error["param"] == param
        return response

    yield send
    assert app.state.context.client.num_unfinished == 1
    gate.set()
    chunks = events(await stream)
    told = [token for each in chunks for token in each["choices"][0]["token_ids"]]
    assert told[: len(ids)] == ids
    assert "".join(each["choices"][0]["text"] for each in chunks) == NEIGHBOUR
    assert engine.failed is None
    assert engine.stats().kv_cache_usage == 0

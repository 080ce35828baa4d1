"""Whatever a client sends, it gets an answer or a 4xx, and nothing stays behind."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.embeddings_protocol import EmbeddingRequest
from plimsoll_runtime.server.protocol import (
    UNSUPPORTED_CHAT,
    UNSUPPORTED_COMPLETION,
    ChatCompletionRequest,
    CompletionRequest,
)
from plimsoll_runtime.server.responses_protocol import ResponsesRequest
from plimsoll_runtime.server.tokenize_protocol import TokenizeTextRequest
from tests.unit.plimsoll_runtime.server.sse import events

FIELDS = sorted(
    {
        *ChatCompletionRequest.model_fields,
        *CompletionRequest.model_fields,
        *UNSUPPORTED_CHAT,
        *UNSUPPORTED_COMPLETION,
        *ResponsesRequest.model_fields,
        *EmbeddingRequest.model_fields,
        *TokenizeTextRequest.model_fields,
    }
)
WORDS = st.sampled_from(["user", "system", "tiny", "text", "none", "auto"]) | st.text(max_size=6)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-5, 3000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
)
KEYS = st.sampled_from(["role", "content", "type", "text", "include_usage"]) | st.text(max_size=4)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0.01, 1),
        "n": st.integers(1, 3),
        "seed": st.integers(-9, 9),
        "stop": st.text(min_size=1, max_size=5),
        "stream": st.booleans(),
        "max_tokens": st.integers(1, 40),
        "min_tokens": st.integers(0, 50),
        "ignore_eos": st.booleans(),
        "return_token_ids": st.booleans(),
    },
)
ROLES = st.sampled_from(["user", "assistant", "system", "developer"])
MESSAGE = st.fixed_dictionaries({"role": ROLES, "content": st.text(max_size=20)})
PROMPTS = (
    st.text(max_size=30)
    | st.lists(st.integers(0, 2047), min_size=1, max_size=20)
    | st.lists(st.text(max_size=9), min_size=1, max_size=3)
)
TOOLS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {"name": st.sampled_from(["f", "g", ""])},
                optional={"parameters": st.dictionaries(KEYS, JSON, max_size=2)},
            ),
        }
    ),
    max_size=2,
)
TOOL_MESSAGE = st.fixed_dictionaries(
    {"role": ROLES | st.just("tool")},
    optional={
        "content": st.none() | st.text(max_size=9),
        "tool_call_id": WORDS,
        "tool_calls": st.lists(
            st.fixed_dictionaries(
                {
                    "function": st.fixed_dictionaries(
                        {"name": WORDS, "arguments": st.text(max_size=9)}
                    )
                }
            ),
            max_size=2,
        ),
    },
)
OTHERS = st.one_of(
    st.tuples(
        st.just("/v1/responses"),
        st.fixed_dictionaries({"input": st.text(max_size=20) | st.lists(MESSAGE, max_size=3)}),
        OPTIONS,
    ),
    st.tuples(
        st.just("/v1/embeddings"),
        st.fixed_dictionaries({"input": PROMPTS}),
        st.fixed_dictionaries(
            {},
            optional={
                "dimensions": st.integers(1, 10),
                "encoding_format": st.sampled_from(["float", "base64"]),
            },
        ),
    ),
    st.tuples(
        st.just("/tokenize"),
        st.fixed_dictionaries({"prompt": st.text(max_size=30)})
        | st.fixed_dictionaries({"messages": st.lists(TOOL_MESSAGE, max_size=3), "tools": TOOLS}),
        st.fixed_dictionaries({}, optional={"return_token_strs": st.booleans()}),
    ),
    st.tuples(
        st.just("/detokenize"),
        st.fixed_dictionaries({"tokens": st.lists(st.integers(0, 2047), max_size=20)}),
        OPTIONS,
    ),
    st.tuples(
        st.just("/v1/chat/completions"),
        st.fixed_dictionaries(
            {"messages": st.lists(TOOL_MESSAGE, min_size=1, max_size=3), "tools": TOOLS}
        ),
        OPTIONS,
    ),
)
BODIES = st.tuples(
    st.just("/v1/completions"), st.fixed_dictionaries({"prompt": PROMPTS}), OPTIONS
) | st.tuples(
    st.just("/v1/chat/completions"),
    st.fixed_dictionaries({"messages": st.lists(MESSAGE, min_size=1, max_size=3)}),
    OPTIONS,
)
ANSWER = {
    "/tokenize": "tokens",
    "/detokenize": "prompt",
    "/v1/responses": "output",
    "/v1/embeddings": "data",
}


async def post(app: FastAPI, path: str, body: dict[str, Any]) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        headers = {"content-type": "application/json"}
        return await http.post(path, content=json.dumps(body), headers=headers)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(request=BODIES | OTHERS, odd=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=2))
def test_any_request_is_answered_or_refused(
    app: FastAPI,
    engine: Engine,
    say: Callable[[str], list[int]],
    request: tuple[str, dict[str, Any], dict[str, Any]],
    odd: dict[str, Any],
) -> None:
    say("hi 😀 there")
    path, content, options = request
    response = asyncio.run(post(app, path, content | options | odd))
    assert response.status_code in (200, 400, 404), response.text
    if response.status_code != 200:
        assert response.json()["error"]["message"]
    elif response.headers["content-type"].startswith("text/event-stream"):
        assert "event: response.failed" not in response.text
        if path != "/v1/responses":
            assert all("error" not in event for event in events(response))
    else:
        assert ANSWER.get(path, "choices") in response.json()
    assert app.state.context.client.num_unfinished == 0
    assert engine.failed is None

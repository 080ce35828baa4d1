"""Penalties, masks and `response_format` over HTTP, by builtin://tiny; and nothing is a 5xx."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.structured import MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH
from plimsoll_runtime.server.tokenizer import Tokenizer
from tests.unit.plimsoll_runtime.server.sse import events
from tests.unit.plimsoll_runtime.server.tiny_server import tiny_app

MESSAGES = [{"role": "user", "content": "What is a thread?"}]
COLOUR = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}, "n": {"type": "boolean"}},
    "required": ["colour", "n"],
    "additionalProperties": False,
}


@pytest.fixture
def app(tiny: FastAPI) -> FastAPI:
    return tiny


async def complete(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    request = {"prompt": "The os module", "temperature": 0, "max_tokens": 20, **body}
    response = await http.post("/v1/completions", json=request)
    assert response.status_code == 200, response.text
    choice: dict[str, Any] = response.json()["choices"][0]
    return choice


def schema_format(schema: object) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}


async def test_each_wish_changes_the_answer_as_it_says(
    http: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    plain = (await complete(http, return_token_ids=True))["token_ids"]
    first = plain[0]
    banned = await complete(http, logit_bias={str(first): -100}, return_token_ids=True)
    assert first not in banned["token_ids"]
    loved = await complete(http, logit_bias={"300": 100}, return_token_ids=True)
    assert set(loved["token_ids"]) == {300}
    allowed = await complete(http, allowed_token_ids=[300, 301], return_token_ids=True)
    assert set(allowed["token_ids"]) <= {300, 301}
    word = tokenizer.decode([first]).strip()
    clean = await complete(http, bad_words=[word], return_token_ids=True)
    assert first not in clean["token_ids"]
    fresh = await complete(
        http, frequency_penalty=2, presence_penalty=2, max_tokens=60, return_token_ids=True
    )
    same = await complete(http, max_tokens=60, return_token_ids=True)
    assert len(set(fresh["token_ids"])) > len(set(same["token_ids"]))
    sure = await complete(http, min_p=1.0, temperature=2.0, seed=1, return_token_ids=True)
    assert sure["token_ids"] == plain


async def test_neutral_values_change_nothing(http: httpx.AsyncClient) -> None:
    neutral = {
        "presence_penalty": 0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1,
        "min_p": 0,
        "logit_bias": {},
        "allowed_token_ids": [],
        "bad_words": [],
        "response_format": {"type": "text"},
        "prompt_logprobs": None,
    }
    assert await complete(http, **neutral) == await complete(http)


@pytest.mark.parametrize("temperature", [0, 1.2])
@pytest.mark.parametrize("path", ["completions", "chat/completions"])
async def test_a_schema_is_followed_streamed_or_not(
    http: httpx.AsyncClient, path: str, temperature: float
) -> None:
    content = {"prompt": "x"} if path == "completions" else {"messages": MESSAGES}
    body = {
        **content,
        "response_format": schema_format(COLOUR),
        "max_tokens": 150,
        "temperature": temperature,
        "seed": 5,
    }
    response = await http.post(f"/v1/{path}", json=body)
    assert response.status_code == 200, response.text
    choice = response.json()["choices"][0]
    text = choice["text"] if path == "completions" else choice["message"]["content"]
    value = json.loads(text)
    assert value["colour"] in ("red", "green", "blue")
    assert isinstance(value["n"], bool)
    assert choice["finish_reason"] == "stop"
    streamed = await http.post(f"/v1/{path}", json={**body, "stream": True})
    pieces = [choice for event in events(streamed) for choice in event["choices"]]
    assert text == "".join(
        each["text"] if path == "completions" else each["delta"].get("content", "")
        for each in pieces
    )


def deep(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "boolean"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("json", "must be an object"),
        ({}, "type"),
        ({"type": "xml"}, "'xml'"),
        ({"type": ["text"]}, "type"),
        ({"type": "json_schema"}, "json_schema"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "schema"),
        (schema_format([]), "schema"),
        (schema_format("{}"), "schema"),
        (schema_format({"type": "foo"}), "foo"),
        (schema_format({"$ref": "https://example.com/x"}), "cannot be followed"),
        (schema_format({"type": "string", "pattern": "("}), "cannot be followed"),
        (schema_format({"enum": ["x" * MAX_SCHEMA_BYTES]}), "bytes"),
        (schema_format(deep(MAX_SCHEMA_DEPTH)), "deep"),
        (schema_format({"type": "array", "minItems": 10**30}), "schema"),
    ],
)
async def test_a_bad_response_format_is_named(
    http: httpx.AsyncClient, asked: object, says: str
) -> None:
    response = await http.post(
        "/v1/chat/completions", json={"messages": MESSAGES, "response_format": asked}
    )
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "response_format")
    assert says in error["message"]
    assert len(error["message"]) < 500


async def test_a_schema_that_takes_for_ever_is_refused_and_nobody_waits_for_it(
    http: httpx.AsyncClient,
) -> None:
    patterns = [f"(a|b)*a(a|b){{{length}}}" for length in range(3, 30)]
    endless = {"allOf": [{"type": "string", "pattern": each} for each in patterns]}
    body = {"prompt": "x", "response_format": schema_format(endless)}
    refused = asyncio.ensure_future(http.post("/v1/completions", json=body))
    for _ in range(3):
        await complete(http)
    assert not refused.done()
    response = await refused
    assert response.status_code == 400
    assert "too much time" in response.json()["error"]["message"]
    again = {"prompt": "x", "max_tokens": 1, "response_format": {"type": "json_object"}}
    assert (await http.post("/v1/completions", json=again)).status_code == 200


async def test_a_schema_as_deep_as_allowed_is_followed(http: httpx.AsyncClient) -> None:
    body = {"prompt": "x", "max_tokens": 3, "response_format": schema_format(deep(40))}
    response = await http.post("/v1/completions", json=body)
    assert response.json()["choices"][0]["text"].startswith("[")


async def test_options_inside_a_schema_do_not_loosen_ours(http: httpx.AsyncClient) -> None:
    """llguidance reads `x-guidance`; a client must not get blanks without end."""
    loose = {**COLOUR, "x-guidance": {"whitespace_pattern": " *", "lenient": True}}
    body = {
        "response_format": schema_format(loose),
        "logit_bias": {"226": 100, "227": 100, "204": 100},
        "max_tokens": 200,
    }
    choice = await complete(http, **body)
    assert choice["finish_reason"] == "stop"
    json.loads(choice["text"])


async def test_ignoring_the_end_does_not_go_with_a_schema(http: httpx.AsyncClient) -> None:
    response = await http.post(
        "/v1/completions",
        json={"prompt": "x", "ignore_eos": True, "response_format": {"type": "json_object"}},
    )
    assert (response.status_code, response.json()["error"]["param"]) == (400, "ignore_eos")


async def test_one_that_leaves_itself_no_token_gets_400_and_a_stream_an_error(
    http: httpx.AsyncClient,
) -> None:
    ids = [300]
    body = {"prompt": "x", "allowed_token_ids": ids, "min_tokens": 3, "stop_token_ids": ids}
    response = await http.post("/v1/completions", json=body)
    assert response.status_code == 400
    assert "no token" in response.json()["error"]["message"]
    (event,) = events(await http.post("/v1/completions", json={**body, "stream": True}))
    assert event["error"]["code"] == 400


PLAIN = " module is not recommended.\n\nThese are the same as"
NUMBERS = st.floats(-3, 3) | st.integers(-3, 3) | st.none()
IDS = st.lists(st.integers(-1, 2049), max_size=4)
ODD_SCHEMAS = st.sampled_from(
    [
        COLOUR,
        {},
        {"type": "object"},
        {"type": "string", "pattern": "(a+)+b"},
        {"type": "string", "pattern": "(((a{50}){50}){50}){50}"},
        {"type": "array", "minItems": 100000},
        {"$ref": "#"},
        {"type": "nothing"},
        {"anyOf": []},
        {"type": "number", "minimum": 5, "maximum": 1},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        True,
        3,
    ]
)
FORMATS = st.one_of(
    ODD_SCHEMAS.map(schema_format),
    st.sampled_from([{"type": "json_object"}, {"type": "text"}, {"type": 3}, [], "json", None]),
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 0.5, 2]),
        "presence_penalty": NUMBERS,
        "frequency_penalty": NUMBERS,
        "repetition_penalty": NUMBERS,
        "min_p": st.floats(0, 1),
        "top_p": st.floats(0.1, 1),
        "top_k": st.integers(-1, 5000),
        "logit_bias": st.dictionaries(
            st.integers(-1, 2049).map(str) | st.text(max_size=3), st.floats(-100, 100), max_size=3
        ),
        "allowed_token_ids": IDS,
        "stop_token_ids": IDS,
        "bad_words": st.lists(st.text(max_size=5), max_size=3),
        "prompt_logprobs": st.integers(-1, 22),
        "response_format": FORMATS,
        "min_tokens": st.integers(0, 5),
        "max_tokens": st.integers(0, 6),
        "stream": st.booleans(),
        "n": st.integers(1, 2),
        "echo": st.booleans(),
        "logprobs": st.integers(-1, 22) | st.booleans(),
        "top_logprobs": st.integers(-1, 22),
        "stop": st.text(min_size=1, max_size=2),
    },
)


@settings(
    suppress_health_check=[HealthCheck.too_slow],
    deadline=None,
    max_examples=40,
)
@given(requests=st.lists(st.tuples(st.booleans(), FIELDS), min_size=1, max_size=4))
def test_whatever_is_wished_is_answered_or_refused_and_hurts_no_other(
    tiny_model: Engine, requests: list[tuple[bool, dict[str, Any]]]
) -> None:
    async def send(app: FastAPI) -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
            bodies = [
                ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 5, **fields})
                if is_chat
                else ("/v1/completions", {"prompt": [7, 8], "max_tokens": 5, **fields})
                for is_chat, fields in requests
            ]
            bodies.append(("/v1/completions", {"prompt": "The os", "temperature": 0}))
            return await asyncio.gather(*(http.post(path, json=body) for path, body in bodies))

    with tiny_app(tiny_model) as app:
        *responses, plain = asyncio.run(send(app))
        assert app.state.context.client.num_unfinished == 0
    for response in responses:
        assert response.status_code in (200, 400), response.text
        if response.headers["content-type"].startswith("text/event-stream"):
            errors = [event["error"] for event in events(response) if "error" in event]
            assert all(error["code"] == 400 for error in errors)
    assert plain.status_code == 200
    assert plain.json()["choices"][0]["text"] == PLAIN
    assert tiny_model.failed is None

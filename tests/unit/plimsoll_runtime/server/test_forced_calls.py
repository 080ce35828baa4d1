"""`tool_choice` required or a named function, over HTTP, by builtin://tiny as it is."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.app import create_app
from plimsoll_runtime.server.chat_template import ChatTemplate
from plimsoll_runtime.server.structured import MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH
from tests.unit.plimsoll_runtime.server.sse import events
from tests.unit.plimsoll_runtime.server.tiny_server import SETTINGS, TOKENIZER

TEMPLATE = ChatTemplate(
    "{% for tool in tools or [] %}{{ tool.function.name }} as <tool_call>{% endfor %}"
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
)
USER = {"role": "user", "content": "What is a thread?"}


def tool(name: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        **more,
    }
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


PAINT = tool("paint", {"colour": {"enum": ["red", "green"]}, "wet": {"type": "boolean"}})
WAIT = tool("wait", {"seconds": {"enum": [1, 2, 3]}})
NAMED = {"type": "function", "function": {"name": "wait"}}


@pytest.fixture(params=["hermes", "llama3_json", "mistral"])
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def app(tiny_model: Engine, parser: str) -> Iterator[FastAPI]:
    tokenizer = replace(TOKENIZER, chat_template=TEMPLATE)
    app = create_app(tiny_model, tokenizer, replace(SETTINGS, tool_call_parser=parser))
    yield app
    app.state.context.close()


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


async def post(http: httpx.AsyncClient, **body: Any) -> httpx.Response:
    request = {"messages": [USER], "tools": [PAINT, WAIT], "temperature": 0, "max_tokens": 120}
    return await http.post("/v1/chat/completions", json=request | body)


def check(name: str, arguments: str) -> None:
    value = json.loads(arguments)
    if name == "wait":
        assert value in ({"seconds": 1}, {"seconds": 2}, {"seconds": 3})
    else:
        assert name == "paint"
        assert set(value) == {"colour", "wet"}
        assert value["colour"] in ("red", "green")
        assert value["wet"] in (True, False)


async def test_required_is_a_call_and_nothing_else(http: httpx.AsyncClient) -> None:
    for seed in range(4):
        response = await post(
            http, tool_choice="required", parallel_tool_calls=False, temperature=1.5, seed=seed
        )
        assert response.status_code == 200, response.text
        choice = ChatCompletion.model_validate(response.json(), strict=True).choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        assert choice.message.tool_calls is not None
        (call,) = choice.message.tool_calls
        assert call.type == "function"
        check(call.function.name, call.function.arguments)


async def test_a_named_function_is_the_one_that_is_called(http: httpx.AsyncClient) -> None:
    choice = (await post(http, tool_choice=NAMED)).json()["choices"][0]
    assert choice["finish_reason"] == "stop", "as OpenAI has it"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "wait"
    check("wait", call["function"]["arguments"])


async def test_streams_tell_the_same(http: httpx.AsyncClient) -> None:
    for wish, reason in (("required", "tool_calls"), (NAMED, "stop")):
        wishes: dict[str, Any] = {"tool_choice": wish, "parallel_tool_calls": False}
        whole = (await post(http, **wishes)).json()["choices"][0]["message"]["tool_calls"]
        streamed = events(await post(http, **wishes, stream=True))
        chunks = [ChatCompletionChunk.model_validate(each, strict=True) for each in streamed]
        deltas = [chunk.choices[0].delta for chunk in chunks]
        assert not any(delta.content for delta in deltas)
        told = [call.function for delta in deltas for call in delta.tool_calls or []]
        assert [each.name for each in told if each and each.name] == [whole[0]["function"]["name"]]
        arguments = "".join(each.arguments or "" for each in told if each)
        assert arguments == whole[0]["function"]["arguments"]
        assert chunks[-1].choices[0].finish_reason == reason


async def test_several_may_come_where_the_client_lets_them(http: httpx.AsyncClient) -> None:
    many = await asyncio.gather(
        *(post(http, tool_choice="required", temperature=2, seed=seed) for seed in range(6))
    )
    for response in many:
        choice = response.json()["choices"][0]
        for call in choice["message"]["tool_calls"]:
            check(call["function"]["name"], call["function"]["arguments"])
        if choice["finish_reason"] != "length":
            assert choice["message"]["content"] is None


async def test_a_function_without_parameters_takes_none(http: httpx.AsyncClient) -> None:
    bare = {"type": "function", "function": {"name": "go"}}
    wishes: dict[str, Any] = {"tools": [bare], "tool_choice": "required"}
    choice = (await post(http, **wishes, parallel_tool_calls=False)).json()["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("go", {})


async def test_forced_and_free_do_not_mix(http: httpx.AsyncClient) -> None:
    free, forced, none = await asyncio.gather(
        post(http), post(http, tool_choice=NAMED), post(http, tool_choice="none")
    )
    assert forced.json()["choices"][0]["message"]["tool_calls"]
    for each in (free, none):
        assert "tool_calls" not in each.json()["choices"][0]["message"]


def deep(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "boolean"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize("parser", ["hermes"], indirect=True)
@pytest.mark.parametrize(
    ("fields", "param", "told"),
    [
        ({"tools": None}, "tool_choice", "takes tools"),
        ({"tools": []}, "tool_choice", "takes tools"),
        ({"tool_choice": "maybe"}, "tool_choice", "maybe"),
        ({"tool_choice": {}}, "tool_choice", "function"),
        ({"tool_choice": {"type": "function"}}, "tool_choice", "name"),
        ({"tool_choice": {"type": "function", "function": "wait"}}, "tool_choice", "name"),
        ({"tool_choice": {"type": "function", "function": {"name": 1}}}, "tool_choice", "name"),
        ({"tool_choice": NAMED, "tools": [PAINT]}, "tool_choice", "wait"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice", "function"),
        ({"response_format": {"type": "json_object"}}, "tool_choice", "response_format"),
        ({"tools": [WAIT, WAIT]}, "tools", "twice"),
        ({"tools": [tool("f", {}, type="string")]}, "tools", "f.parameters.type"),
        ({"tools": [tool("f", {}, type=["object", "null"])]}, "tools", "f.parameters.type"),
        ({"tools": [tool("f", {"a": {"type": "colour"}})]}, "tools", "parameters"),
        ({"tools": [tool("f", {"a": {"$ref": "http://x/y"}})]}, "tools", "parameters"),
        ({"tools": [tool("f", {"a": {"pattern": "("}})]}, "tools", "parameters"),
        ({"tools": [tool("f", {"a": deep(MAX_SCHEMA_DEPTH)})]}, "tools", "deep"),
        ({"tools": [tool("f", {"a": {"enum": ["x" * MAX_SCHEMA_BYTES]}})]}, "tools", "bytes"),
        (
            {
                "tools": [
                    tool(name, {"a": {"enum": ["x" * (MAX_SCHEMA_BYTES // 2)]}}) for name in "fgh"
                ]
            },
            "tools",
            "bytes",
        ),
    ],
)
async def test_what_cannot_be_forced_is_refused(
    http: httpx.AsyncClient, fields: dict[str, Any], param: str, told: str
) -> None:
    response = await post(http, **{"tool_choice": "required", **fields})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert told in error["message"]


@pytest.mark.parametrize("parser", ["hermes"], indirect=True)
async def test_text_as_response_format_is_no_obstacle(http: httpx.AsyncClient) -> None:
    response = await post(http, tool_choice=NAMED, response_format={"type": "text"})
    assert response.json()["choices"][0]["message"]["tool_calls"]


@pytest.mark.parametrize("parser", ["hermes"], indirect=True)
async def test_parameters_may_refer_to_their_own_definitions(http: httpx.AsyncClient) -> None:
    inner = {"type": "object", "properties": {"b": {"type": "boolean"}}, "required": ["b"]}
    inner["additionalProperties"] = False
    parameters = {"$ref": "#/$defs/inner", "$defs": {"inner": inner}}
    function = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    named = {"type": "function", "function": {"name": "f"}}
    response = await post(http, tools=[function], tool_choice=named)
    assert response.status_code == 200, response.text
    (call,) = response.json()["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["b"] in (True, False)

"""Chat completions with tools, through the server."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.app import create_app
from plimsoll_runtime.server.calling_message import Calling, CallingMessage
from plimsoll_runtime.server.chat_template import ChatTemplate
from plimsoll_runtime.server.sequence import Delta
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.tokenizer import Tokenizer
from plimsoll_runtime.server.tool_calls.formats import FORMATS
from tests.unit.plimsoll_runtime.server.sse import events

# Qwen's and Hermes' template, in short.
TEMPLATE = """
{%- if tools %}{{- '<|system|>tools: ' ~ (tools | tojson) ~ ' answer <tool_call>' }}{% endif -%}
{%- for message in messages -%}
{{- '<|' ~ message.role ~ '|>' ~ message.content -}}
{%- for call in message.tool_calls or [] %}{{- '<tool_call>' ~ (call.function | tojson) }}
{%- endfor -%}
{%- if message.role == 'tool' %}{{- ' (' ~ message.name ~ ' ' ~ message.tool_call_id ~ ')' }}
{%- endif -%}
{{- '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{% endif -%}
"""
USER = {"role": "user", "content": "Weather?"}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln"}}\n</tool_call>'


@pytest.fixture
def with_tools(tokenizer: Tokenizer) -> Tokenizer:
    return replace(tokenizer, chat_template=ChatTemplate(TEMPLATE))


@pytest.fixture
def app(engine: Engine, with_tools: Tokenizer, settings: ServerSettings) -> Iterator[FastAPI]:
    app = create_app(engine, with_tools, settings)
    yield app
    app.state.context.close()


async def post(http: httpx.AsyncClient, *messages: Any, **body: Any) -> httpx.Response:
    body = {"messages": messages or [USER], "tools": [WEATHER], **body}
    return await http.post("/v1/chat/completions", json=body)


async def prompt_of(http: httpx.AsyncClient, tokenizer: Tokenizer, **body: Any) -> str:
    body = {"messages": [USER], "tools": [WEATHER], **body}
    answer = (await http.post("/tokenize", json=body)).json()
    return tokenizer.decode(answer["tokens"], skip_special_tokens=False)


async def test_a_call_is_told_in_openais_shape(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say(f"Let me look.\n{CALL}")
    response = await post(http)
    assert response.status_code == 200, response.text
    choice = ChatCompletion.model_validate(response.json(), strict=True).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me look.\n"
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Köln"}
    assert call.id.startswith("call_")
    assert len(call.id) > 20


async def test_an_answer_without_calls_is_as_without_tools(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say("It is <b>fine</b>.")
    with_tools = (await post(http)).json()["choices"][0]
    assert with_tools == (await post(http, tools=None)).json()["choices"][0]
    assert with_tools["finish_reason"] == "stop"
    assert "tool_calls" not in with_tools["message"]


async def test_a_stream_names_the_function_first(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say(f"Hm.{CALL}\n{CALL}")
    response = await post(http, stream=True)
    chunks = [ChatCompletionChunk.model_validate(each, strict=True) for each in events(response)]
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert (deltas[0].role, deltas[0].content) == ("assistant", "")
    assert "".join(delta.content or "" for delta in deltas) == "Hm."
    told = [call for delta in deltas for call in delta.tool_calls or []]
    for index in (0, 1):
        first, *rest = [call for call in told if call.index == index]
        assert first.function is not None
        assert (first.type, first.function.name) == ("function", "get_weather")
        assert first.id
        assert all(call.id is None and call.type is None for call in rest)
        arguments = "".join(call.function.arguments or "" for call in rest if call.function)
        assert json.loads((first.function.arguments or "") + arguments) == {"city": "Köln"}
    assert {call.index for call in told} == {0, 1}
    assert len({call.id for call in told if call.id}) == 2
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "tool_calls"
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks[:-1])


def test_arguments_are_told_as_they_come() -> None:
    form = CallingMessage(Calling(FORMATS["hermes"], {"get_weather"}))
    told = [form.delta(Delta(0, char)) for char in CALL]
    calls = [call for delta in told for call in delta.get("tool_calls", [])]
    assert calls[0]["function"] == {"name": "get_weather", "arguments": "{"}
    assert all(set(call) == {"index", "function"} for call in calls[1:])
    arguments = [call["function"]["arguments"] for call in calls]
    assert arguments == list('{"city": "Köln"}')


async def test_choices_are_read_apart(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say(CALL)
    whole = (await post(http, n=3)).json()["choices"]
    assert [each["finish_reason"] for each in whole] == ["tool_calls"] * 3
    assert len({each["message"]["tool_calls"][0]["id"] for each in whole}) == 3
    assert all(each["message"]["content"] is None for each in whole)
    chunks = events(await post(http, n=3, stream=True))
    for index in range(3):
        mine = [each["choices"][0] for each in chunks if each["choices"][0]["index"] == index]
        told = [call for each in mine for call in each["delta"].get("tool_calls", [])]
        text = "".join(call["function"]["arguments"] for call in told)
        assert json.loads(text) == {"city": "Köln"}
        assert mine[-1]["finish_reason"] == "tool_calls"


async def test_broken_calls_are_content(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    for text in (
        "<tool_call>get_weather</tool_call>",
        "<tool_call>{'name': 'get_weather'}</tool_call>",
        '<tool_call>{"name": "get_weather", "arguments": {"city": }}</tool_call>',
    ):
        say(text)
        choice = (await post(http)).json()["choices"][0]
        assert choice["message"] == {"role": "assistant", "content": text, "refusal": None}
        assert choice["finish_reason"] == "stop"


async def test_a_call_that_is_cut_off_ends_with_length(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    tokens = len(say(CALL))
    choice = (await post(http, max_tokens=tokens - 12)).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert "tool_calls" not in choice["message"]
    last = events(await post(http, max_tokens=tokens - 12, stream=True))[-1]["choices"][0]
    assert last["finish_reason"] == "length"


async def test_without_parallel_calls_there_is_one_at_most(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say(f"{CALL}\n{CALL}")
    assert len((await post(http)).json()["choices"][0]["message"]["tool_calls"]) == 2
    one = (await post(http, parallel_tool_calls=False)).json()["choices"][0]
    assert len(one["message"]["tool_calls"]) == 1
    assert one["finish_reason"] == "tool_calls"
    chunks = events(await post(http, parallel_tool_calls=False, stream=True))
    told = [call for each in chunks for call in each["choices"][0]["delta"].get("tool_calls", [])]
    assert {call["index"] for call in told} == {0}


async def test_tools_reach_the_template(http: httpx.AsyncClient, tokenizer: Tokenizer) -> None:
    shown = await prompt_of(http, tokenizer)
    assert json.dumps([WEATHER]) in shown
    bare = {"type": "function", "function": {"name": "now", "strict": True}}
    shown = await prompt_of(http, tokenizer, tools=[bare])
    parameters: dict[str, Any] = {"type": "object", "properties": {}}
    expected = {"type": "function", "function": {"name": "now", "parameters": parameters}}
    assert json.dumps([expected]) in shown
    assert "tools" not in await prompt_of(http, tokenizer, tools=[])


async def test_calls_and_their_results_are_history(
    http: httpx.AsyncClient, tokenizer: Tokenizer, say: Callable[[str], list[int]]
) -> None:
    say("Rain.")
    function = {"name": "get_weather", "arguments": '{"city": "Köln"}'}
    messages = [
        USER,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_7", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_7", "content": [{"type": "text", "text": "rain"}]},
    ]
    answer = await post(http, *messages)
    assert answer.json()["choices"][0]["message"]["content"] == "Rain."
    shown = await prompt_of(http, tokenizer, messages=messages)
    assert '<tool_call>{"name": "get_weather", "arguments": {"city": "Köln"}}' in shown
    assert "<|tool|>rain (get_weather call_7)" in shown


@pytest.mark.parametrize("arguments", ["", "{", "[1]", '{"a": "\\ud800"}', "x" * 300])
async def test_arguments_in_history_need_not_be_json(
    http: httpx.AsyncClient, say: Callable[[str], list[int]], arguments: str
) -> None:
    say("ok")
    call = {"id": "1", "function": {"name": "get_weather", "arguments": arguments}}
    response = await post(http, USER, {"role": "assistant", "tool_calls": [call]})
    assert response.status_code == (200 if len(arguments) < 300 else 400), response.text


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **function}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required", "tools": None}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": 7}, "tool_choice"),
        ({"tool_choice": ["auto"]}, "tool_choice"),
        ({"tools": "f"}, "tools"),
        ({"tools": [tool()] * 129}, "tools"),
        ({"tools": [{"type": "retrieval"}]}, "tools.0.type"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tools": [tool(name="")]}, "tools.0.function.name"),
        ({"tools": [tool(name="f" * 65)]}, "tools.0.function.name"),
        ({"tools": [tool(name="f\n")]}, "tools.0.function.name"),
        ({"tools": [tool(name="{{ f }}")]}, "tools.0.function.name"),
        ({"tools": [tool(parameters=[])]}, "tools.0.function.parameters"),
        ({"tools": [tool(description=1)]}, "tools.0.function.description"),
        ({"tools": [tool(description="d" * 100_000)]}, "prompt"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ],
)
async def test_what_cannot_be_is_refused(
    http: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    response = await post(http, **fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


async def test_no_choice_means_no_calls(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say(CALL)
    answer = (await post(http, tool_choice="none")).json()
    assert answer["choices"][0]["message"]["content"] == CALL
    assert answer["choices"][0]["finish_reason"] == "stop"
    without = (await post(http, tools=None)).json()
    assert answer["usage"]["prompt_tokens"] == without["usage"]["prompt_tokens"]
    assert (await post(http)).json()["usage"]["prompt_tokens"] > without["usage"]["prompt_tokens"]


async def test_without_a_known_format_tools_are_refused(
    engine: Engine, tokenizer: Tokenizer, say: Callable[[str], list[int]]
) -> None:
    template = ChatTemplate("{{ tools }}{{ messages[-1].content }}")
    unknown = replace(tokenizer, chat_template=template)
    for parser, status in ((None, 400), ("hermes", 200)):
        settings = ServerSettings(("tiny",), "root", tool_call_parser=parser)
        app = create_app(engine, unknown, settings)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
            say(CALL)
            response = await post(http)
            assert response.status_code == status
            if parser is None:
                assert "--tool-call-parser" in response.json()["error"]["message"]
            else:
                assert response.json()["choices"][0]["finish_reason"] == "tool_calls"
        app.state.context.close()


async def test_tools_of_many_do_not_mix(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say(CALL)
    answers = await asyncio.gather(
        *(post(http, tool_choice="none" if index % 2 else "auto") for index in range(8))
    )
    reasons = [answer.json()["choices"][0]["finish_reason"] for answer in answers]
    assert reasons == ["tool_calls", "stop"] * 4

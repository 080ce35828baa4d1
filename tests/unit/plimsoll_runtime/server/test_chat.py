from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.app import create_app
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.tokenizer import Tokenizer
from tests.unit.plimsoll_runtime.server.sse import events

USER = {"role": "user", "content": "Hello"}
TEXT = "Grüße aus 東京! 😀"


async def post(http: httpx.AsyncClient, *messages: Any, **body: Any) -> httpx.Response:
    body = {"model": "tiny", "messages": messages or [USER], **body}
    return await http.post("/v1/chat/completions", json=body)


async def test_answers_in_openais_shape(
    http: httpx.AsyncClient, say: Callable[[str], list[int]], tokenizer: Tokenizer
) -> None:
    ids = say(TEXT)
    response = await post(http, return_token_ids=True)
    assert response.status_code == 200, response.text
    answer = ChatCompletion.model_validate(response.json(), strict=True)
    assert answer.id.startswith("chatcmpl-")
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    rendered = "<|bos|><|user|>Hello<|end|><|assistant|>"
    prompt = tokenizer.encode(rendered, add_special_tokens=False)
    assert response.json()["prompt_token_ids"] == prompt
    assert response.json()["choices"][0]["token_ids"] == [*ids, 5]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(prompt)


async def test_a_stream_begins_with_the_role_and_ends_with_the_reason(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    ids = say(TEXT)
    response = await post(http, stream=True, n=2, stream_options={"include_usage": True})
    raw = events(response)
    chunks = [ChatCompletionChunk.model_validate(each, strict=True) for each in raw]
    assert {chunk.id for chunk in chunks} == {f"chatcmpl-{response.headers['x-request-id']}"}
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    *rest, last = chunks
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 2 * (len(ids) + 1)
    for index in range(2):
        mine = [chunk.choices[0] for chunk in rest if chunk.choices[0].index == index]
        assert mine[0].delta.role == "assistant"
        assert mine[0].delta.content == ""
        assert all(each.delta.role is None for each in mine[1:])
        assert "".join(each.delta.content or "" for each in mine) == TEXT
        assert [each.finish_reason for each in mine] == [None] * (len(mine) - 1) + ["stop"]


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({"max_tokens": 2}, 2),
        ({"max_completion_tokens": 3}, 3),
        ({"max_tokens": 2, "max_completion_tokens": 3}, 3),
    ],
)
async def test_both_names_of_max_tokens(
    http: httpx.AsyncClient,
    say: Callable[[str], list[int]],
    options: dict[str, int],
    tokens: int,
) -> None:
    say(TEXT)
    answer = (await post(http, **options)).json()
    assert answer["usage"]["completion_tokens"] == tokens
    assert answer["choices"][0]["finish_reason"] == "length"


async def test_without_max_tokens_the_context_is_filled(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say("a")
    usage = (await post(http, ignore_eos=True)).json()["usage"]
    assert usage["total_tokens"] == 256


async def test_parts_of_text_are_joined_and_developer_is_system(
    http: httpx.AsyncClient, say: Callable[[str], list[int]], tokenizer: Tokenizer
) -> None:
    say("a")
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    response = await post(
        http,
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": parts, "name": "bob"},
        {"role": "assistant", "content": None},
        USER,
        return_token_ids=True,
        add_generation_prompt=False,
        chat_template_kwargs={"enable_thinking": False},
    )
    assert response.status_code == 200, response.text
    rendered = (
        "<|bos|><|system|>Be brief.<|end|><|user|>one\ntwo<|end|><|assistant|><|end|>"
        "<|user|>Hello<|end|>"
    )
    assert response.json()["prompt_token_ids"] == tokenizer.encode(
        rendered, add_special_tokens=False
    )


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user"}, "messages.1.content"),
        ({"role": "user", "content": None}, "messages.1.content"),
        ({"role": "user", "content": []}, "messages.1.content"),
        ({"role": "user", "content": 5}, "messages.1.content"),
        ({"role": "user", "content": ["text"]}, "messages.1.content.0"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]},
            "messages.1.content.0",
        ),
        ({"role": "user", "content": [{"type": "text"}]}, "messages.1.content.0.text"),
        (
            {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]},
            "messages.1.tool_calls.0.function",
        ),
        ({"role": "robot", "content": "x"}, "messages.1.role"),
        ("hello", "messages.1"),
    ],
)
async def test_messages_that_cannot_be_answered(
    http: httpx.AsyncClient, message: Any, param: str
) -> None:
    response = await post(http, USER, message)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


async def test_template_arguments_must_be_plain(http: httpx.AsyncClient) -> None:
    for value in ([1], {"a": 1}, "x" * 257):
        response = await post(http, chat_template_kwargs={"key": value})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "chat_template_kwargs"


async def test_tools_are_refused_unless_they_are_not_to_be_used(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say("a")
    tools = [{"type": "function", "function": {"name": "f"}}]
    response = await post(http, tools=tools)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "tools"
    assert (await post(http, tools=tools, tool_choice="none")).status_code == 200
    assert (await post(http, tool_choice="auto")).status_code == 200


async def test_a_model_without_a_template_points_to_completions(
    engine: Engine, tokenizer: Tokenizer, settings: ServerSettings
) -> None:
    app: FastAPI = create_app(engine, replace(tokenizer, chat_template=None), settings)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        response = await post(http)
    app.state.context.close()
    assert response.status_code == 400
    assert "/v1/completions" in response.json()["error"]["message"]


async def test_a_conversation_longer_than_the_context(http: httpx.AsyncClient) -> None:
    response = await post(http, {"role": "user", "content": "word " * 5000})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"

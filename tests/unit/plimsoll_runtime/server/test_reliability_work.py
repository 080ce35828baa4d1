"""One request asks for unbounded work: here it is refused before any is done."""

import gzip
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.unit.plimsoll_runtime.server.refusals import (
    CHAT,
    COMPLETIONS,
    DETOKENIZE,
    EMBEDDINGS,
    JSON,
    RESPONSES,
    TOKENIZE,
    USER,
    Refused,
)


def nested(depth: int, opened: bytes = b"[", closed: bytes = b"]") -> bytes:
    return opened * depth + closed * depth


@pytest.mark.parametrize("field", ["n", "best_of"])
@pytest.mark.parametrize("value", [0, -1, 9, 10**6, 10**300, 1.5, True, "2"])
async def test_many_answers_from_one_request(refused: Refused, field: str, value: object) -> None:
    for path in (COMPLETIONS, CHAT):
        await refused(path, {"prompt": "x", "messages": [USER], field: value}, field)


async def test_giant_lists(refused: Refused) -> None:
    await refused(COMPLETIONS, {"prompt": ["x"] * 65}, "prompt")
    await refused(COMPLETIONS, {"prompt": [[1]] * 100_000}, "prompt")
    await refused(CHAT, {"messages": [USER] * 5000}, "messages")
    parts = [{"type": "text", "text": ""}] * 5000
    await refused(CHAT, {"messages": [{"role": "user", "content": parts}]}, "messages.0.content")
    tool = {"type": "function", "function": {"name": "f"}}
    await refused(CHAT, {"messages": [USER], "tools": [tool] * 5000}, "tools")
    calls = [{"id": "1", "function": {"name": "f", "arguments": "{}"}}] * 5000
    message = {"role": "assistant", "tool_calls": calls}
    await refused(CHAT, {"messages": [message]}, "messages.0.tool_calls")
    await refused(RESPONSES, {"input": [USER] * 5000}, "input")
    await refused(EMBEDDINGS, {"input": [[1]] * 100_000}, "input")
    await refused(DETOKENIZE, {"tokens": [1] * 300_000}, "tokens")
    await refused(COMPLETIONS, {"prompt": "x", "stop_token_ids": [1] * 65}, "stop_token_ids")


async def test_stop_strings_are_few_short_and_no_patterns(refused: Refused) -> None:
    for path in (COMPLETIONS, CHAT):
        body = {"prompt": "x", "messages": [USER]}
        await refused(path, {**body, "stop": ["a"] * 17}, "stop")
        await refused(path, {**body, "stop": "a" * 65})
        await refused(path, {**body, "stop": "東" * 30}, "stop")
        await refused(path, {**body, "stop": [""]})
        await refused(path, {**body, "stop": ["(a+)+b", 7]})


async def test_stop_strings_that_are_patterns_are_text(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say("a" * 60 + "(a+)+b and more")
    body = {"prompt": "x", "stop": ["(a+)+b"], "max_tokens": 200}
    choice = (await http.post(COMPLETIONS, json=body)).json()["choices"][0]
    assert (choice["text"], choice["stop_reason"]) == ("a" * 60, "(a+)+b")


async def test_long_text_is_refused_before_it_is_tokenized(refused: Refused) -> None:
    text = "word " * 400_000
    await refused(COMPLETIONS, {"prompt": text})
    await refused(CHAT, {"messages": [{"role": "user", "content": text}]})
    await refused(RESPONSES, {"input": text}, "input")
    await refused(EMBEDDINGS, {"input": ["x", text]}, "input")
    await refused(TOKENIZE, {"prompt": text})


async def test_large_bodies(refused: Refused) -> None:
    for path in (COMPLETIONS, CHAT, RESPONSES, EMBEDDINGS, TOKENIZE, DETOKENIZE):
        response = await refused(path, b'{"prompt": "' + b"x" * 5_000_000 + b'"}')
        assert response.status_code == 413


async def test_deep_nesting(refused: Refused) -> None:
    for path in (COMPLETIONS, CHAT, RESPONSES, EMBEDDINGS, TOKENIZE, DETOKENIZE):
        for body in (
            b'{"prompt": ' + nested(101) + b"}",
            b'{"prompt": ' + nested(100_000) + b"}",
            b'{"x": ' + nested(100_000, b'{"x": ', b"}").replace(b": }", b": 1}") + b"}",
            b"[" * 1_000_000,
            b'{"a":' * 500_000,
        ):
            response = await refused(path, body)
            assert response.status_code == 400


async def test_nesting_in_tools(refused: Refused) -> None:
    deep: Any = 1
    for _ in range(200):
        deep = {"properties": {"a": deep}}
    tool = {"type": "function", "function": {"name": "f", "parameters": deep}}
    await refused(CHAT, {"messages": [USER], "tools": [tool]})


async def test_nesting_in_the_arguments_of_a_call_is_text(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say("ok")
    for arguments in ("[" * 50_000, '{"a":' * 50_000, '{"a":' * 500 + "1" + "}" * 500):
        call = {"id": "1", "function": {"name": "f", "arguments": arguments}}
        body = {"messages": [USER, {"role": "assistant", "tool_calls": [call]}]}
        assert (await http.post(CHAT, json=body)).status_code == 200


async def test_compressed_bodies_are_not_unpacked(refused: Refused) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    await refused(COMPLETIONS, bomb, headers={**JSON, "content-encoding": "gzip"})


async def test_faults_without_number(refused: Refused) -> None:
    """Each fault that is told takes a microsecond or two, and the first is enough."""
    await refused(DETOKENIZE, {"tokens": [-1] * 1_000_000}, "tokens.0")
    await refused(COMPLETIONS, {"prompt": [[None]] * 500_000}, "prompt")
    await refused(EMBEDDINGS, {"input": [-1] * 1_000_000}, "input")
    await refused(COMPLETIONS, {"prompt": "x", "stop_token_ids": [-1] * 1_000_000})
    await refused(COMPLETIONS, {"prompt": "x", "stop": [1] * 1_000_000})
    message = {"role": "user", "content": "x", "tool_calls": [{}] * 128}
    await refused(CHAT, {"messages": [message] * 4000})
    await refused(CHAT, {"messages": [{}] * 4000, "tools": [{}] * 128}, "messages.0.role")
    await refused(RESPONSES, {"input": [{"role": 1}] * 4000}, "input.0.role")

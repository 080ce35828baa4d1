"""One request kills the shared engine: here it is refused."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.unit.plimsoll_runtime.server.refusals import (
    CHAT,
    COMPLETIONS,
    USER,
    Refused,
)


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
async def test_min_tokens_above_max_tokens(refused: Refused, path: str) -> None:
    body = {"prompt": "x", "messages": [USER], "min_tokens": 9, "max_tokens": 5}
    await refused(path, body, "min_tokens")


@pytest.mark.parametrize("value", [-1, 129, 10**9, "5", 1.5, [5], {}])
async def test_logprobs_beyond_what_is_computed(refused: Refused, value: object) -> None:
    await refused(COMPLETIONS, {"prompt": "x", "logprobs": value}, "logprobs")
    body = {"messages": [USER], "logprobs": True, "top_logprobs": value}
    response = await refused(CHAT, body)
    assert response.json()["error"]["param"] in ("logprobs", "top_logprobs")


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": "json"},
        {"guided_regex": "(a+)+b"},
        {"guided_json": "{"},
        {"guided_grammar": "root ::= root"},
        {"structured_outputs": {"regex": "["}},
    ],
)
async def test_schemas_and_grammars_that_do_not_compile(
    refused: Refused, fields: dict[str, Any]
) -> None:
    response = await refused(CHAT, {"messages": [USER], **fields})
    assert response.json()["error"]["param"].split(".")[0] == next(iter(fields))


@pytest.mark.parametrize(
    "tool",
    [
        None,
        "f",
        {},
        {"type": "function", "function": {"name": ["f"]}},
        {"type": "function", "function": {"name": "f", "parameters": "{"}},
        {"type": "function", "function": {"name": "f\u0000"}},
        {"type": "function", "function": {"name": "../f"}},
    ],
)
async def test_tools_that_are_none(refused: Refused, tool: object) -> None:
    response = await refused(CHAT, {"messages": [USER], "tools": [tool]})
    assert response.json()["error"]["param"].startswith("tools.0")


@pytest.mark.parametrize("prompt", ["", [], [[]], [""], None, {}, [None], [[1], "x"]])
async def test_empty_and_odd_prompts(refused: Refused, prompt: object) -> None:
    body = {"prompt": prompt, "add_special_tokens": False}
    await refused(COMPLETIONS, body, "prompt")


async def test_a_prompt_as_long_as_the_context(refused: Refused) -> None:
    for size in (256, 257, 100_000):
        response = await refused(COMPLETIONS, {"prompt": [7] * size})
        assert response.json()["error"]["code"] == "context_length_exceeded"


async def test_a_prompt_one_short_of_the_context(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say("x y z")
    answer = (await http.post(COMPLETIONS, json={"prompt": [7] * 255})).json()
    assert answer["usage"]["completion_tokens"] == 1
    assert answer["choices"][0]["finish_reason"] == "length"

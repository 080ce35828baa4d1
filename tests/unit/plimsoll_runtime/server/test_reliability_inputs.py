"""The mistakes that inference servers are known for, each as a test.

Every input is sent while the engine is held in the middle of a step that a neighbour waits for, so
an answer shows that none was needed of the engine; then the neighbour must get every token of its.
"""

import ast
import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

import plimsoll_runtime
from plimsoll_runtime.core.request import Request
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.app import create_app
from plimsoll_runtime.server.middleware import OPEN_PATHS
from plimsoll_runtime.server.operations import OPERATIONS
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.tokenizer import Tokenizer
from tests.unit.plimsoll_runtime.server.conftest import SpokenModel
from tests.unit.plimsoll_runtime.server.sse import events

COMPLETIONS, CHAT, RESPONSES = "/v1/completions", "/v1/chat/completions", "/v1/responses"
TOKENIZE, DETOKENIZE = "/tokenize", "/detokenize"
USER: dict[str, Any] = {"role": "user", "content": "x"}
JSON = {"content-type": "application/json"}
SECONDS = 5.0
"""Of this process's CPU time, with room for a slow machine. Most take a millisecond."""
NEIGHBOUR = "the neighbour's answer, 東京 😀, whole"

Refused = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
async def refused(
    http: httpx.AsyncClient,
    app: FastAPI,
    engine: Engine,
    spoken: SpokenModel,
    say: Callable[[str], list[int]],
) -> AsyncIterator[Refused]:
    """Sends what must be refused at once, whatever the engine does."""
    ids = say(NEIGHBOUR)
    spoken.gate.clear()
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
    spoken.gate.set()
    chunks = events(await stream)
    told = [token for each in chunks for token in each["choices"][0]["token_ids"]]
    assert told[: len(ids)] == ids
    assert "".join(each["choices"][0]["text"] for each in chunks) == NEIGHBOUR
    assert engine.failed is None
    assert engine.stats().kv_cache_usage == 0


def nested(depth: int, opened: bytes = b"[", closed: bytes = b"]") -> bytes:
    return opened * depth + closed * depth


# One request kills the shared engine.


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


# Unbounded work.


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
    await refused(TOKENIZE, {"prompt": text})


async def test_large_bodies(refused: Refused) -> None:
    for path in (COMPLETIONS, CHAT, RESPONSES, TOKENIZE, DETOKENIZE):
        response = await refused(path, b'{"prompt": "' + b"x" * 5_000_000 + b'"}')
        assert response.status_code == 413


async def test_deep_nesting(refused: Refused) -> None:
    for path in (COMPLETIONS, CHAT, RESPONSES, TOKENIZE, DETOKENIZE):
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
    await refused(COMPLETIONS, {"prompt": "x", "stop_token_ids": [-1] * 1_000_000})
    await refused(COMPLETIONS, {"prompt": "x", "stop": [1] * 1_000_000})
    message = {"role": "user", "content": "x", "tool_calls": [{}] * 128}
    await refused(CHAT, {"messages": [message] * 4000})
    await refused(CHAT, {"messages": [{}] * 4000, "tools": [{}] * 128}, "messages.0.role")
    await refused(RESPONSES, {"input": [{"role": 1}] * 4000}, "input.0.role")


# Numbers and text that parsers disagree about.


NUMBERS = (
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"-1e999",
    b"9" * 400,
    b"9" * 5000,
    b"1e400",
)


@pytest.mark.parametrize("number", NUMBERS)
async def test_numbers_that_are_none_or_huge(refused: Refused, number: bytes) -> None:
    for field in (b"temperature", b"top_p", b"max_tokens", b"seed", b"top_k", b"n", b"min_tokens"):
        for path in (COMPLETIONS, CHAT):
            body = b'{"prompt": "x", "messages": [{"role": "user", "content": "x"}], "%s": %s}'
            await refused(path, body % (field, number))
    await refused(RESPONSES, b'{"input": "x", "max_output_tokens": %s}' % number)
    await refused(DETOKENIZE, b'{"tokens": [%s]}' % number)
    await refused(COMPLETIONS, b'{"prompt": [%s]}' % number)


@pytest.mark.parametrize(
    "text",
    [b"\\ud800", b"\\udfff", b"\\ud800\\ud800", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\n"],
)
async def test_text_that_is_no_unicode(refused: Refused, text: bytes) -> None:
    for path in (COMPLETIONS, CHAT, RESPONSES, TOKENIZE):
        body = b'{"prompt": "%s", "input": "%s", "messages": [{"role": "user", "content": "%s"}]}'
        await refused(path, body % (text, text, text))
        await refused(path, b'{"%s": 1}' % text)


async def test_nul_is_a_character_like_others(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say("a\u0000b")
    body = {"prompt": "x\u0000y", "stop": ["\u0000\u0000"], "max_tokens": 9}
    assert (await http.post(COMPLETIONS, json=body)).json()["choices"][0]["text"] == "a\u0000b"
    for field in ("model", "cache_salt"):
        response = await http.post(COMPLETIONS, json={"prompt": "x", field: "\u0000"})
        assert response.status_code == (404 if field == "model" else 200)


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b" ",
            b"{",
            b'{"prompt"',
            b'{"prompt": "x"',
            b'{"prompt": "x"}}',
            b"null",
            b"[]",
            b"7",
        ),
        *(
            b'{"prompt": "x", "prompt": "y"}',
            b"{'prompt': 'x'}",
            b'{"prompt": "x",}',
            b"\xef\xbb\xbf{}",
        ),
    ],
)
async def test_bodies_that_are_no_object(refused: Refused, body: bytes) -> None:
    for path in (COMPLETIONS, CHAT, RESPONSES, TOKENIZE, DETOKENIZE):
        assert (await refused(path, body)).status_code == 400


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; a"],
)
async def test_other_media_types(refused: Refused, kind: str) -> None:
    for path in (COMPLETIONS, CHAT, RESPONSES, TOKENIZE, DETOKENIZE):
        response = await refused(path, {"prompt": "x"}, headers={"content-type": kind})
        assert response.status_code == 415


# Templates, addresses and tensors of clients.


async def test_templates_of_clients(refused: Refused) -> None:
    attack = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    for path in (CHAT, TOKENIZE):
        body = {"messages": [USER], "chat_template": attack}
        await refused(path, body, "chat_template")
        for value in ([1], {"a": 1}, "x" * 257):
            arguments = {"messages": [USER], "chat_template_kwargs": {"a": value}}
            await refused(path, arguments, "chat_template_kwargs")
        many = {str(index): 1 for index in range(17)}
        await refused(path, {"messages": [USER], "chat_template_kwargs": many})


async def test_template_arguments_cannot_take_the_place_of_what_the_server_gives(
    http: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    names = ("messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token")
    plain = (await http.post(TOKENIZE, json={"messages": [USER]})).json()
    for name in names:
        body = {"messages": [USER], "chat_template_kwargs": {name: "{{ 7 * 7 }}"}}
        assert (await http.post(TOKENIZE, json=body)).json() == plain


async def test_text_of_clients_is_no_template(
    http: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    message = {"role": "user", "content": "{{ 7 * 7 }}{% raw %}"}
    ids = (await http.post(TOKENIZE, json={"messages": [message]})).json()["tokens"]
    assert "{{ 7 * 7 }}{% raw %}" in tokenizer.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest/meta-data"}},
        {"type": "image_url", "image_url": "file:///etc/passwd"},
        {"type": "input_image", "image_url": "http://127.0.0.1:1\\@example.com/"},
        {"type": "input_file", "file_url": "http://127.0.0.1:1/"},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "http://127.0.0.1:1/"}},
        {"type": "image_embeds", "image_embeds": "AAAA"},
    ],
)
async def test_addresses_are_never_fetched(refused: Refused, part: dict[str, Any]) -> None:
    message = {"role": "user", "content": [part]}
    await refused(CHAT, {"messages": [message]}, "messages.0.content.0")
    await refused(RESPONSES, {"input": [message]}, "input.0.content.0")


async def test_tensors_of_clients(refused: Refused) -> None:
    for value in ("gASVAAAA", ["gASVAAAA"]):
        await refused(COMPLETIONS, {"prompt": "x", "prompt_embeds": value}, "prompt_embeds")


# Memory and identity across requests.


@pytest.mark.parametrize("token", [2048, 2**31, 2**63, -1])
async def test_token_ids_beyond_the_vocabulary(refused: Refused, token: int) -> None:
    await refused(COMPLETIONS, {"prompt": [1, token]})
    await refused(COMPLETIONS, {"prompt": "x", "stop_token_ids": [token]})
    await refused(COMPLETIONS, {"prompt": "x", "logit_bias": {str(token): 1}})
    await refused(COMPLETIONS, {"prompt": "x", "allowed_token_ids": [token]})
    await refused(DETOKENIZE, {"tokens": [token]})


async def test_a_request_id_of_a_client_names_nobody(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say("mine")
    headers = {"x-request-id": "same"}
    answers = await asyncio.gather(
        *(http.post(COMPLETIONS, json={"prompt": "x"}, headers=headers) for _ in range(4))
    )
    assert len({answer.json()["id"] for answer in answers}) == 4
    assert all(answer.json()["choices"][0]["text"] == "mine" for answer in answers)


async def test_keys_and_salts_part_the_cache(
    http: httpx.AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    salts: list[str] = []
    submit = engine.submit

    def record(request: Request, *rest: Any) -> None:
        salts.append(request.cache_salt)
        submit(request, *rest)

    monkeypatch.setattr(engine, "submit", record)
    for path, body in (
        (COMPLETIONS, {"prompt": "x"}),
        (CHAT, {"messages": [USER]}),
        (RESPONSES, {"input": "x"}),
    ):
        salts.clear()
        for headers in ({}, {"authorization": "Bearer a"}, {"authorization": "Bearer b"}):
            for salt in (None, "s", "t"):
                await http.post(path, json={**body, "cache_salt": salt}, headers=headers)
        assert len(set(salts)) == 9
        assert all("Bearer" not in each for each in salts)


# Authentication.


async def test_every_path_but_probes_and_metrics_needs_the_key(
    engine: Engine, tokenizer: Tokenizer
) -> None:
    app = create_app(engine, tokenizer, ServerSettings(("tiny",), "r", api_key="sesame"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        for method, path in OPERATIONS:
            where = path.replace("{name}", "tiny")
            for headers in ({}, {"host": "server/livez?"}, {"x-forwarded-for": "127.0.0.1"}):
                response = await http.request(method, where, headers=headers)
                assert (response.status_code == 401) == (path not in OPEN_PATHS), (method, path)
        for path in ("/v1/", "/docs", "/redoc", "/pause", "/v1/load_lora_adapter", "/livez/"):
            assert (await http.get(path)).status_code == 401
    app.state.context.close()


async def test_nothing_of_the_server_is_in_what_it_refuses(refused: Refused) -> None:
    for body in (
        {"prompt": {"__class__": {"__init__": {"__globals__": 1}}}},
        {"prompt": "x", "temperature": {"a": "b" * 1000}},
        {"prompt": "x", "stop": {"a": [object.__name__]}},
        {"model": "a" * 200, "prompt": "x"},
    ):
        response = await refused(COMPLETIONS, body)
        assert "plimsoll_runtime" not in response.text
        assert "/home" not in response.text


def test_checks_hold_without_assertions() -> None:
    """`python -O` takes every assert away."""
    root = Path(plimsoll_runtime.__file__).parent
    for path in root.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        assert not [each for each in ast.walk(tree) if isinstance(each, ast.Assert)], path

"""Numbers, text and bodies that parsers disagree about."""

from collections.abc import Callable

import httpx
import pytest

from tests.unit.plimsoll_runtime.server.refusals import (
    CHAT,
    COMPLETIONS,
    DETOKENIZE,
    EMBEDDINGS,
    RESPONSES,
    TOKENIZE,
    Refused,
)

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
    await refused(EMBEDDINGS, b'{"input": "x", "dimensions": %s}' % number)
    await refused(COMPLETIONS, b'{"prompt": [%s]}' % number)


@pytest.mark.parametrize(
    "text",
    [b"\\ud800", b"\\udfff", b"\\ud800\\ud800", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\n"],
)
async def test_text_that_is_no_unicode(refused: Refused, text: bytes) -> None:
    for path in (COMPLETIONS, CHAT, RESPONSES, EMBEDDINGS, TOKENIZE):
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
    for path in (COMPLETIONS, CHAT, RESPONSES, EMBEDDINGS, TOKENIZE, DETOKENIZE):
        assert (await refused(path, body)).status_code == 400


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; a"],
)
async def test_other_media_types(refused: Refused, kind: str) -> None:
    for path in (COMPLETIONS, CHAT, RESPONSES, EMBEDDINGS, TOKENIZE, DETOKENIZE):
        response = await refused(path, {"prompt": "x"}, headers={"content-type": kind})
        assert response.status_code == 415

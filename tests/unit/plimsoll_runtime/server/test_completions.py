from collections.abc import Callable
from typing import Any

import httpx
import pytest
from openai.types import Completion

from plimsoll_runtime.server.tokenizer import Tokenizer
from tests.unit.plimsoll_runtime.server.sse import events

TEXT = "The naïve café serves 中文 and 😀 — to everyone."


async def post(http: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await http.post("/v1/completions", json={"model": "tiny", "prompt": "Hello", **body})


def streamed(response: httpx.Response) -> dict[int, str]:
    texts: dict[int, str] = {}
    for chunk in events(response):
        for choice in chunk["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    return texts


async def test_answers_in_openais_shape(
    http: httpx.AsyncClient, say: Callable[[str], list[int]], tokenizer: Tokenizer
) -> None:
    ids = say(TEXT)
    response = await post(http, max_tokens=100)
    assert response.status_code == 200, response.text
    answer = Completion.model_validate(response.json(), strict=True)
    assert answer.id == f"cmpl-{response.headers['x-request-id']}"
    assert (answer.object, answer.model) == ("text_completion", "tiny")
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == (TEXT, "stop")
    assert answer.usage is not None
    prompt_tokens = len(tokenizer.encode("Hello", add_special_tokens=True))
    assert answer.usage.prompt_tokens == prompt_tokens
    assert answer.usage.completion_tokens == len(ids) + 1
    assert answer.usage.total_tokens == prompt_tokens + len(ids) + 1
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_tokens": 3},
        {"max_tokens": 100},
        {"max_tokens": 100, "stop": "café"},
        {"max_tokens": 100, "stop": ["中文", "zzz", "e"], "include_stop_str_in_output": True},
        {"max_tokens": 100, "stop": "é", "n": 3},
        {"max_tokens": 100, "skip_special_tokens": False},
        {"max_tokens": 30, "ignore_eos": True, "skip_special_tokens": False},
        {"max_tokens": 12, "ignore_eos": True, "prompt": ["a", "b"], "n": 2},
    ],
)
async def test_streaming_gives_the_same_as_not_streaming(
    http: httpx.AsyncClient, say: Callable[[str], list[int]], options: dict[str, Any]
) -> None:
    say(TEXT)
    whole = (await post(http, return_token_ids=True, **options)).json()
    stream_options = {"include_usage": True}
    response = await post(
        http, return_token_ids=True, stream=True, stream_options=stream_options, **options
    )
    chunks = events(response)
    assert streamed(response) == {each["index"]: each["text"] for each in whole["choices"]}
    *rest, last = chunks
    assert (last["choices"], last["usage"]) == ([], whole["usage"])
    assert all(chunk["usage"] is None for chunk in rest)
    for choice in whole["choices"]:
        mine = [c["choices"][0] for c in rest if c["choices"][0]["index"] == choice["index"]]
        assert [each["finish_reason"] for each in mine if each["finish_reason"]] == [
            choice["finish_reason"]
        ]
        assert mine[-1]["finish_reason"] is not None
        assert mine[-1]["stop_reason"] == choice["stop_reason"]
        assert [each for chunk in mine for each in chunk["token_ids"]] == choice["token_ids"]
        assert mine[0]["prompt_token_ids"] == choice["prompt_token_ids"]


async def test_without_include_usage_no_chunk_mentions_it(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say("short")
    chunks = events(await post(http, stream=True))
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)


@pytest.mark.parametrize(
    ("options", "text", "finish", "stop_reason"),
    [
        ({"max_tokens": 100}, TEXT, "stop", None),
        ({"max_tokens": 100, "stop": "café"}, "The naïve ", "stop", "café"),
        (
            {"max_tokens": 100, "stop": "café", "include_stop_str_in_output": True},
            "The naïve café",
            "stop",
            "café",
        ),
        ({"max_tokens": 100, "stop": "The", "min_tokens": 20}, TEXT, "stop", None),
    ],
)
async def test_where_an_answer_ends(
    http: httpx.AsyncClient,
    say: Callable[[str], list[int]],
    options: dict[str, Any],
    text: str,
    finish: str,
    stop_reason: str | None,
) -> None:
    say(TEXT)
    choice = (await post(http, **options)).json()["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == (text, finish)
    assert choice["stop_reason"] == stop_reason


async def test_length_ends_an_answer(
    http: httpx.AsyncClient, say: Callable[[str], list[int]], tokenizer: Tokenizer
) -> None:
    ids = say(TEXT)
    answer = (await post(http, max_tokens=4)).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["choices"][0]["text"] == tokenizer.decode(ids[:4])
    assert answer["usage"]["completion_tokens"] == 4


async def test_the_default_is_16_tokens(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say(TEXT * 3)
    assert (await post(http)).json()["usage"]["completion_tokens"] == 16


async def test_stop_token_ids_end_an_answer_without_their_text(
    http: httpx.AsyncClient, say: Callable[[str], list[int]], tokenizer: Tokenizer
) -> None:
    ids = say("one two three")
    stop = ids[2]
    choice = (await post(http, stop_token_ids=[stop], return_token_ids=True)).json()["choices"][0]
    assert choice["text"] == tokenizer.decode(ids[:2])
    assert choice["token_ids"] == ids[:3]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)


async def test_ignore_eos_goes_on_to_the_length(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say("x")
    answer = (await post(http, max_tokens=9, ignore_eos=True)).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 9


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a b", ["a b"]),
        (["a", "b"], ["a", "b"]),
        ([10, 11, 12], [[10, 11, 12]]),
        ([[10], [11, 12]], [[10], [11, 12]]),
    ],
)
async def test_prompts_of_all_four_kinds(
    http: httpx.AsyncClient,
    say: Callable[[str], list[int]],
    tokenizer: Tokenizer,
    prompt: Any,
    prompts: list[Any],
) -> None:
    say("ok")
    answer = (await post(http, prompt=prompt, return_token_ids=True, n=2)).json()
    expected = [
        tokenizer.encode(each, add_special_tokens=True) if isinstance(each, str) else each
        for each in prompts
        for _ in range(2)
    ]
    assert [each["prompt_token_ids"] for each in answer["choices"]] == expected
    assert [each["index"] for each in answer["choices"]] == list(range(len(expected)))
    assert {each["text"] for each in answer["choices"]} == {"ok"}
    assert answer["usage"]["prompt_tokens"] == sum(map(len, expected)) // 2


@pytest.mark.parametrize(
    "prompt",
    [None, "", [], [""], [[]], [1, "a"], [[1], "a"], [True], [1.0], {}, 5, [[1, None]], ["a"] * 65],
)
async def test_other_prompts_are_refused(http: httpx.AsyncClient, prompt: Any) -> None:
    response = await post(http, prompt=prompt, add_special_tokens=False)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["param"], error["type"], error["code"]) == ("prompt", "BadRequestError", 400)
    assert "prompt" in error["message"]


@pytest.mark.parametrize("token_id", [-1, 2048, 2**70])
async def test_token_ids_outside_the_vocabulary_are_refused(
    http: httpx.AsyncClient, token_id: int
) -> None:
    response = await post(http, prompt=[1, token_id])
    assert response.status_code == 400
    assert "vocabulary of 2048" in response.json()["error"]["message"]


async def test_text_far_too_long_is_refused_without_being_tokenized(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tokenizer, "encode", None)
    response = await post(http, prompt="far too long " * 200_000)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert "at least" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("length", "max_tokens", "status"),
    [(255, 1, 200), (255, None, 200), (256, 1, 400), (255, 2, 400), (10_000, None, 400)],
)
async def test_the_context_is_a_hard_limit(
    http: httpx.AsyncClient, length: int, max_tokens: int | None, status: int
) -> None:
    response = await post(http, prompt=[7] * length, max_tokens=max_tokens)
    assert response.status_code == status, response.text
    if status == 400:
        error = response.json()["error"]
        assert error["code"] == "context_length_exceeded"
        assert "256" in error["message"]
        assert str(length) in error["message"]

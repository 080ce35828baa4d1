"""What both APIs tell about tokens, from builtin://tiny, against transformers."""

from operator import itemgetter
from typing import Any

import httpx
import pytest
import torch
from fastapi import FastAPI
from openai.types import Completion
from openai.types.chat import ChatCompletion
from transformers import LlamaForCausalLM

from plimsoll_runtime.server.tokenizer import Tokenizer
from tests.unit.plimsoll_runtime.server.sse import events

TEXT = "The naïve café serves 中文 and 😀 — to everyone."
# The model is too small to share among threads.
torch.set_num_threads(1)
MESSAGES = [{"role": "user", "content": "What is a thread?"}]


@pytest.fixture
def app(tiny: FastAPI) -> FastAPI:
    return tiny


@torch.inference_mode()
def logprobs_after(oracle: LlamaForCausalLM, token_ids: list[int]) -> torch.Tensor:
    """`[tokens, vocab]`"""
    logits: torch.Tensor = oracle(torch.tensor([token_ids])).logits[0]
    return logits.log_softmax(dim=-1)


async def complete(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    response = await http.post("/v1/completions", json={"temperature": 0, **body})
    assert response.status_code == 200, response.text
    if not body.get("echo"):
        # The SDK's type knows no null, which OpenAI answers for an echoed prompt's first token.
        Completion.model_validate(response.json(), strict=True)
    answer: dict[str, Any] = response.json()
    return answer


async def chat(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    request = {"temperature": 0, "messages": MESSAGES, **body}
    response = await http.post("/v1/chat/completions", json=request)
    assert response.status_code == 200, response.text
    ChatCompletion.model_validate(response.json(), strict=True)
    answer: dict[str, Any] = response.json()
    return answer


# lm-eval's `local-completions` (0.4): what it sends for log-likelihoods, and how it reads them.


def lm_eval_request(prompts: list[list[int]]) -> dict[str, Any]:
    return {
        "model": "tiny",
        "prompt": prompts,
        "temperature": 0,
        "max_tokens": 1,
        "logprobs": 1,
        "seed": 1234,
        "echo": True,
    }


def lm_eval_reads(answer: dict[str, Any], context_lengths: list[int]) -> list[tuple[float, bool]]:
    """The last entry is the one token that was generated and not asked for."""
    read = []
    choices = sorted(answer["choices"], key=itemgetter("index"))
    for choice, length in zip(choices, context_lengths, strict=True):
        told = choice["logprobs"]["token_logprobs"][length:-1]
        likeliest = choice["logprobs"]["top_logprobs"][length:-1]
        pairs = zip(told, likeliest, strict=True)
        greedy = all(own == max(top.values()) for own, top in pairs)
        read.append((sum(told), greedy))
    return read


async def test_lm_eval_reads_the_likelihoods_that_transformers_has(
    http: httpx.AsyncClient, tokenizer: Tokenizer, oracle: LlamaForCausalLM
) -> None:
    context = tokenizer.encode("The os module is", add_special_tokens=True)
    greedy = (await complete(http, prompt=context, max_tokens=4, return_token_ids=True))["choices"]
    continuations = [
        greedy[0]["token_ids"],
        tokenizer.encode(" a bad idea", add_special_tokens=False),
        tokenizer.encode(" 中文", add_special_tokens=False),
        [300],
        [5, 5],
    ]
    prompts = [context + each for each in continuations]
    answer = await complete(http, **lm_eval_request(prompts))
    read = lm_eval_reads(answer, [len(context)] * len(prompts))
    for (total, is_greedy), ids, prompt in zip(read, continuations, prompts, strict=True):
        rows = logprobs_after(oracle, prompt)[len(context) - 1 : -1]
        expected = sum(float(row[token]) for row, token in zip(rows, ids, strict=True))
        assert total == pytest.approx(expected, abs=1e-3)
        assert is_greedy == (rows.argmax(-1).tolist() == ids)
    assert read[0][1]
    # The same question again is answered the same, whatever is cached by now.
    again = await complete(http, **lm_eval_request(prompts))
    second = lm_eval_reads(again, [len(context)] * len(prompts))
    assert [each for _, each in second] == [each for _, each in read]
    assert [each for each, _ in second] == pytest.approx([each for each, _ in read])


# The legacy object of completions


@pytest.mark.parametrize("max_tokens", [0, 1, 9])
@pytest.mark.parametrize("prompt", [TEXT, "x", [TEXT, "The os module"], [[10, 20], [30]]])
async def test_echo_begins_with_the_prompt_and_its_logprobs(
    http: httpx.AsyncClient,
    tokenizer: Tokenizer,
    oracle: LlamaForCausalLM,
    prompt: Any,
    max_tokens: int,
) -> None:
    wanted = {"prompt": prompt, "max_tokens": max_tokens, "n": 2, "temperature": 1.0, "seed": 3}
    answer = await complete(http, **wanted, echo=True, logprobs=2, return_token_ids=True)
    plain = await complete(http, **{**wanted, "max_tokens": max_tokens or 1})
    prompts = prompt if isinstance(prompt, list) else [prompt]
    assert len(answer["choices"]) == 2 * len(prompts)
    for index, (choice, bare) in enumerate(zip(answer["choices"], plain["choices"], strict=True)):
        given = prompts[index // 2]
        text = given if isinstance(given, str) else tokenizer.decode(given)
        assert choice["text"] == text + (bare["text"] if max_tokens else "")
        ids = choice["prompt_token_ids"] + choice["token_ids"]
        told = choice["logprobs"]
        assert len(choice["token_ids"]) <= max_tokens
        assert {len(values) for values in told.values()} == {len(ids)}
        assert told["token_logprobs"][0] is None
        assert told["top_logprobs"][0] is None
        rows = logprobs_after(oracle, ids)[:-1]
        expected = [float(row[token]) for row, token in zip(rows, ids[1:], strict=True)]
        assert told["token_logprobs"][1:] == pytest.approx(expected, abs=1e-3)
        for row, top in zip(rows, told["top_logprobs"][1:], strict=True):
            best = row.topk(2).values.tolist()
            assert sorted(top.values(), reverse=True)[:2] == pytest.approx(best, abs=1e-3)
    expected_tokens = sum(len(each["token_ids"]) for each in answer["choices"])
    assert answer["usage"]["completion_tokens"] == expected_tokens


@pytest.mark.parametrize("options", [{}, {"echo": True}, {"stop": "e"}, {"ignore_eos": True}])
async def test_offsets_point_at_the_tokens_in_the_text(
    http: httpx.AsyncClient, options: dict[str, Any]
) -> None:
    answer = await complete(
        http, prompt=TEXT, max_tokens=40, temperature=1.9, seed=4, logprobs=0, **options
    )
    choice = answer["choices"][0]
    told = choice["logprobs"]
    whole = 0
    for token, offset in zip(told["tokens"], told["text_offset"], strict=True):
        if offset < len(choice["text"]) and not token.startswith(("bytes:", "<|")):
            # A stop string may cut the last one.
            assert token.startswith(choice["text"][offset : offset + len(token)])
            whole += 1
    assert whole > (20 if "echo" in options else 0)
    assert told["text_offset"] == sorted(told["text_offset"])
    if "echo" in options:
        assert (told["tokens"][0], told["text_offset"][:2]) == ("<|bos|>", [0, 0])
        assert any(token.startswith("bytes:\\x") for token in told["tokens"])
    # Without others asked for, each token is told with itself.
    assert told["top_logprobs"][-1] == {told["tokens"][-1]: told["token_logprobs"][-1]}


@pytest.mark.parametrize(
    "options",
    [
        {"logprobs": 2},
        {"logprobs": 0, "echo": True},
        {"logprobs": 3, "echo": True, "n": 2, "prompt": [TEXT, "The"], "max_tokens": 5},
        {"echo": True, "max_tokens": 0, "logprobs": 1},
        {"echo": True, "max_tokens": 0},
        {"echo": True},
        {"logprobs": 1, "stop": "a", "include_stop_str_in_output": True},
        {"logprobs": 1, "return_tokens_as_token_ids": True},
    ],
)
async def test_a_streamed_completion_tells_the_same(
    http: httpx.AsyncClient, options: dict[str, Any]
) -> None:
    body = {"prompt": TEXT, "max_tokens": 20, "temperature": 1.0, "seed": 7, **options}
    whole = await complete(http, **body)
    response = await http.post("/v1/completions", json={**body, "stream": True})
    chunks = [choice for event in events(response) for choice in event["choices"]]
    for choice in whole["choices"]:
        mine = [each for each in chunks if each["index"] == choice["index"]]
        assert "".join(each["text"] for each in mine) == choice["text"]
        assert mine[-1]["finish_reason"] == choice["finish_reason"]
        if choice["logprobs"] is None:
            assert all(each["logprobs"] is None for each in mine)
            continue
        for field, values in choice["logprobs"].items():
            streamed = [value for each in mine for value in each["logprobs"][field]]
            assert [close(value) for value in streamed] == [close(value) for value in values]


def close(value: Any) -> Any:
    """Equal for values that are nearly so: chunks of other sizes round otherwise."""
    if isinstance(value, dict):
        return {key: close(each) for key, each in value.items()}
    return pytest.approx(value, abs=1e-3) if isinstance(value, float) else value


async def test_tokens_can_be_shown_as_ids(http: httpx.AsyncClient) -> None:
    body = {"prompt": [10, 20], "max_tokens": 2, "logprobs": 1, "return_token_ids": True}
    choice = (await complete(http, **body, return_tokens_as_token_ids=True))["choices"][0]
    assert choice["logprobs"]["tokens"] == [f"token_id:{each}" for each in choice["token_ids"]]
    assert list(choice["logprobs"]["top_logprobs"][0]) == choice["logprobs"]["tokens"][:1]


async def test_prompt_logprobs_in_vllms_shape(
    http: httpx.AsyncClient, oracle: LlamaForCausalLM
) -> None:
    ids = [10, 20, 300, 4]
    body = {"max_tokens": 1, "prompt_logprobs": 1}
    told = (await complete(http, prompt=ids, **body))["choices"][0]["prompt_logprobs"]
    assert told[0] is None
    rows = logprobs_after(oracle, ids)
    for row, token, each in zip(rows, ids[1:], told[1:], strict=False):
        assert set(each) == {str(token), str(int(row.argmax()))}
        assert each[str(token)]["rank"] == 1 + int((row > row[token]).sum())
        assert each[str(token)]["logprob"] == pytest.approx(float(row[token]), abs=1e-3)
    assert "prompt_logprobs" not in (await complete(http, prompt=ids, max_tokens=1))["choices"][0]
    answer = await chat(http, max_tokens=1, prompt_logprobs=0)
    assert len(answer["prompt_logprobs"]) == answer["usage"]["prompt_tokens"]


# Chat


async def test_chat_tells_tokens_bytes_and_others(
    http: httpx.AsyncClient, oracle: LlamaForCausalLM
) -> None:
    answer = await chat(http, max_tokens=30, logprobs=True, top_logprobs=3, return_token_ids=True)
    choice = answer["choices"][0]
    content = choice["logprobs"]["content"]
    ids = answer["prompt_token_ids"] + choice["token_ids"]
    rows = logprobs_after(oracle, ids)[len(answer["prompt_token_ids"]) - 1 : -1]
    assert len(content) == len(choice["token_ids"]) == answer["usage"]["completion_tokens"]
    for entry, token, row in zip(content, choice["token_ids"], rows, strict=True):
        assert entry["logprob"] == pytest.approx(float(row[token]), abs=1e-3)
        best = [each["logprob"] for each in entry["top_logprobs"]]
        assert best == pytest.approx(row.topk(3).values.tolist(), abs=1e-3)
        assert bytes(entry["bytes"]).decode() == entry["token"]
    said = b"".join(bytes(each["bytes"]) for each in content).decode()
    assert said.removesuffix("<|end|>") == choice["message"]["content"]


@pytest.mark.parametrize("options", [{"top_logprobs": 2}, {}, {"n": 2}, {"stop": "a"}])
async def test_a_streamed_chat_tells_the_same(
    http: httpx.AsyncClient, options: dict[str, Any]
) -> None:
    body = {"max_tokens": 20, "logprobs": True, "temperature": 1.0, "seed": 3, **options}
    whole = await chat(http, **body)
    response = await http.post(
        "/v1/chat/completions", json={"messages": MESSAGES, **body, "stream": True}
    )
    chunks = [choice for event in events(response) for choice in event["choices"]]
    for choice in whole["choices"]:
        told = [
            entry
            for each in chunks
            if each["index"] == choice["index"] and each["logprobs"]
            for entry in each["logprobs"]["content"]
        ]
        assert [each["token"] for each in told] == [
            each["token"] for each in choice["logprobs"]["content"]
        ]
        assert [each["logprob"] for each in told] == pytest.approx(
            [each["logprob"] for each in choice["logprobs"]["content"]]
        )


async def test_without_logprobs_none_are_told(http: httpx.AsyncClient) -> None:
    assert (await complete(http, prompt="x", max_tokens=2))["choices"][0]["logprobs"] is None
    for options in ({}, {"logprobs": False}):
        answer = await chat(http, max_tokens=2, **options)
        assert answer["choices"][0]["logprobs"] is None


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("completions", {"prompt": "x", "max_tokens": 0}, "max_tokens"),
        ("completions", {"prompt": "x", "logprobs": 21}, "logprobs"),
        ("completions", {"prompt": "x", "allowed_token_ids": [2048]}, "allowed_token_ids"),
        ("completions", {"prompt": "x", "logit_bias": {"2048": 1}}, "logit_bias"),
        ("completions", {"prompt": "x", "logit_bias": {"-1": 1}}, "logit_bias"),
        ("completions", {"prompt": "x", "logit_bias": {"1.5": 1}}, "logit_bias"),
        ("completions", {"prompt": "x", "logit_bias": {"١": 1}}, "logit_bias"),
        ("completions", {"prompt": "x", "logit_bias": {"9" * 200: 1}}, "logit_bias"),
        ("chat/completions", {"messages": MESSAGES, "top_logprobs": 1}, "top_logprobs"),
        ("chat/completions", {"messages": MESSAGES, "max_tokens": 0}, "max_tokens"),
    ],
)
async def test_bad_wishes_are_named(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], param: str
) -> None:
    response = await http.post(f"/v1/{path}", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "body",
    [
        {"echo": True, "logprobs": 20, "prompt": [[7] * 250] * 51},
        {"prompt_logprobs": 20, "prompt": [[7] * 250] * 10, "n": 6},
    ],
)
async def test_more_logprobs_than_anybody_reads_are_refused(
    http: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    response = await http.post("/v1/completions", json={"max_tokens": 1, **body})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "logprobs")


async def test_many_logprobs_are_told_as_few_are(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"prompt": TEXT, "max_tokens": 2, "echo": True, "logprobs": 2}
    few = await complete(http, **body)
    monkeypatch.setattr("plimsoll_runtime.server.answers.MAX_INLINE_SCORED", 3)
    assert (await complete(http, **body))["choices"] == few["choices"]


async def test_prompts_that_are_only_read_count_as_prompts(
    http: httpx.AsyncClient, tiny: FastAPI
) -> None:
    def prompt_tokens() -> float:
        value: float = tiny.state.context.metrics.prompt_tokens._value.get()
        return value

    prompt = list(range(60, 80))
    for cached in (0, 16):
        before = prompt_tokens()
        answer = await complete(http, prompt=prompt, max_tokens=0, echo=True)
        assert answer["usage"] == {
            "prompt_tokens": 20,
            "completion_tokens": 0,
            "total_tokens": 20,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
        assert prompt_tokens() == before + 20

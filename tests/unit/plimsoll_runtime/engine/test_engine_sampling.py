"""With a real model in fp32: what is told of tokens is what transformers would tell, and nobody's
wishes touch a neighbour."""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM as Oracle

from plimsoll_runtime import builtin
from plimsoll_runtime.core.request import (
    FinishReason,
    Request,
    RequestOutput,
    SamplingParams,
    TokenLogprobs,
)
from plimsoll_runtime.engine import scoring
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.grammar import GrammarCompiler
from plimsoll_runtime.engine.loader import load_engine
from plimsoll_runtime.engine.options import EngineOptions
from plimsoll_runtime.server.structured import response_grammar
from plimsoll_runtime.server.tokenizer import load_tokenizer

TIMEOUT = 30.0
TINY = builtin.path("tiny")
MakeEngine = Callable[..., Engine]


class Answer:
    """All that an engine told of one request."""

    def __init__(self) -> None:
        self.outputs: queue.Queue[RequestOutput] = queue.Queue()
        self.tokens: list[int] = []
        self.logprobs: list[TokenLogprobs] = []
        self.prompt: list[TokenLogprobs] = []

    def wait(self) -> RequestOutput:
        while True:
            output = self.outputs.get(timeout=TIMEOUT)
            self.tokens += output.new_token_ids
            self.logprobs += output.logprobs or ()
            self.prompt += output.prompt_logprobs
            if output.finish_reason is not None:
                return output


def ask(engine: Engine, *asked: tuple[list[int], dict[str, Any]]) -> list[Answer]:
    """Submits all, then starts the engine, so that they are together from the first step on."""
    answers = []
    for number, (prompt, fields) in enumerate(asked):
        sampling = SamplingParams(**{"max_tokens": 8, "temperature": 0.0, **fields})
        answers.append(Answer())
        request = Request(f"r{number}", prompt, sampling, float(number))
        engine.submit(request, answers[-1].outputs.put)
    if not engine.ready:
        engine.start()
    return answers


def prompts(count: int) -> list[list[int]]:
    return [[(7 * i + 3 * j) % 97 for j in range(1 + 5 * i % 29)] for i in range(count)]


@torch.inference_mode()
def expected(model: Oracle, token_ids: list[int]) -> torch.Tensor:
    """Log-probabilities `[tokens, vocab]` of what comes after each token."""
    logits: torch.Tensor = model(torch.tensor([token_ids])).logits[0]
    return logits.log_softmax(dim=-1)


def check(told: list[TokenLogprobs], logprobs: torch.Tensor, tokens: list[int], top: int) -> None:
    """`logprobs[i]` is the distribution that `tokens[i]` is from."""
    assert [each.token_id for each in told] == tokens
    for each, row in zip(told, logprobs, strict=True):
        best = row.topk(top)
        assert each.logprob == pytest.approx(float(row[each.token_id]), abs=1e-4)
        assert [token for token, _ in each.top] == best.indices.tolist()
        assert [value for _, value in each.top] == pytest.approx(best.values.tolist(), abs=1e-4)
        assert each.rank == 1 + int((row > row[each.token_id]).sum())


def test_logprobs_are_transformers_whatever_the_sampling(
    make_engine: MakeEngine, oracle_and_folder: tuple[Oracle, Path]
) -> None:
    wishes: list[dict[str, Any]] = [
        {"logprobs": 3},
        {"logprobs": 3, "temperature": 1.5, "seed": 1},
        {"logprobs": 3, "temperature": 0.7, "top_p": 0.5, "seed": 2},
        {"logprobs": 3, "presence_penalty": 2.0, "repetition_penalty": 1.5},
        {"logprobs": 3, "logit_bias": ((5, 50.0),)},
    ]
    asked = list(zip(prompts(10), wishes * 2, strict=True))
    for (prompt, _), answer in zip(asked, ask(make_engine(), *asked), strict=True):
        assert answer.wait().finish_reason is FinishReason.LENGTH
        rows = expected(oracle_and_folder[0], prompt + answer.tokens)[len(prompt) - 1 : -1]
        check(answer.logprobs, rows, answer.tokens, 3)
        assert not answer.prompt


@pytest.mark.parametrize("max_tokens", [0, 1, 12])
@pytest.mark.parametrize("chunk_bytes", [scoring.CHUNK_BYTES, 97 * 4 * 5])
def test_prompt_logprobs_are_transformers_in_chunks_and_after_preemptions(
    make_engine: MakeEngine,
    oracle_and_folder: tuple[Oracle, Path],
    monkeypatch: pytest.MonkeyPatch,
    max_tokens: int,
    chunk_bytes: int,
) -> None:
    monkeypatch.setattr(scoring, "CHUNK_BYTES", chunk_bytes)
    engine = make_engine(seqs=6, tokens=9, blocks=20)
    wishes = {"prompt_logprobs": 2, "max_tokens": max_tokens}
    # The same prompts twice: what is in the cache cannot be skipped.
    asked = [(prompt, wishes) for prompt in prompts(10) * 2]
    for (prompt, _), answer in zip(asked, ask(engine, *asked), strict=True):
        last = answer.wait()
        assert (last.finish_reason, last.cached_tokens) == (FinishReason.LENGTH, 0)
        check(answer.prompt, expected(oracle_and_folder[0], prompt)[:-1], prompt[1:], 2)
        assert len(answer.tokens) == max_tokens
    stats = engine.stats()
    assert (stats.num_preemptions > 0) == (max_tokens == 12)
    assert stats.kv_cache_usage == 0.0


def test_prompts_that_are_only_computed_are_found_by_others(make_engine: MakeEngine) -> None:
    engine = make_engine()
    prompt = prompts(6)[5]
    (first,) = ask(engine, (prompt, {"max_tokens": 0}))
    assert first.wait().new_token_ids == ()
    (second,) = ask(engine, (prompt, {}))
    assert second.wait().cached_tokens == (len(prompt) - 1) // 4 * 4 > 0


WISHES: list[dict[str, Any]] = [
    {"temperature": 1.0, "presence_penalty": 1.5, "frequency_penalty": 0.5},
    {"temperature": 1.0, "repetition_penalty": 1.8, "top_p": 0.9},
    {},
    {"repetition_penalty": 0.6, "min_p": 0.1, "temperature": 2.0},
    {"temperature": 1.0, "bad_words": tuple((each,) for each in range(40)), "top_k": 20},
    {"logit_bias": tuple((each, -5.0) for each in range(20)), "frequency_penalty": 2.0},
    {"temperature": 1.0, "allowed_token_ids": tuple(range(50, 97)), "logprobs": 2},
]


def test_tokens_do_not_depend_on_neighbours_or_preemptions(make_engine: MakeEngine) -> None:
    asked = [
        (prompt, {"max_tokens": 20, "seed": i, **WISHES[i % len(WISHES)]})
        for i, prompt in enumerate(prompts(21))
    ]

    def serve(seqs: int, blocks: int) -> list[list[int]]:
        engine = make_engine(seqs=seqs, tokens=max(seqs, 9), blocks=blocks)
        answers = ask(engine, *asked)
        assert {answer.wait().finish_reason for answer in answers} == {FinishReason.LENGTH}
        assert (engine.stats().num_preemptions > 0) == (blocks < 64)
        return [answer.tokens for answer in answers]

    alone = serve(1, 64)
    assert serve(8, 64) == alone
    assert serve(6, 20) == alone
    for (_, fields), tokens in zip(asked, alone, strict=True):
        if "bad_words" in fields:
            assert min(tokens) >= 40
        if "allowed_token_ids" in fields:
            assert min(tokens) >= 50


def test_a_frequency_penalty_flattens_what_comes_up(make_engine: MakeEngine) -> None:
    """Seeded draws: the penalized say fewer tokens twice, whoever sits beside them."""

    def repeats(**fields: Any) -> float:
        asked = [
            ([3, 1, 4], {"max_tokens": 30, "temperature": 1.0, "seed": seed, **fields})
            for seed in range(40)
        ]
        answers = ask(make_engine(), *asked, ([2], {"max_tokens": 40}))
        for answer in answers:
            answer.wait()
        return sum(30 - len(set(answer.tokens)) for answer in answers[:-1]) / 40

    plain, penalized, loved = (
        repeats(),
        repeats(frequency_penalty=2.0, presence_penalty=2.0),
        repeats(frequency_penalty=-1.0),
    )
    assert penalized < 0.8 * plain
    assert loved > plain


def test_one_that_leaves_itself_no_token_ends_alone(
    make_engine: MakeEngine, greedy: Callable[[list[int], int], list[int]]
) -> None:
    good, bad = ask(
        make_engine(),
        ([3, 1], {}),
        ([3, 1], {"allowed_token_ids": (5,), "bad_words": ((5, 5),)}),
    )
    last = bad.wait()
    assert (bad.tokens, last.finish_reason, last.refused) == ([5], FinishReason.ERROR, True)
    assert "no token" in (last.error or "")
    good.wait()
    assert good.tokens == greedy([3, 1], 8)


@pytest.mark.parametrize(
    "fields",
    [
        {"logit_bias": ((97, 1.0),)},
        {"allowed_token_ids": (-1,)},
        {"bad_words": ((3, 97),)},
        {"grammar": "{}"},
    ],
)
def test_what_would_hurt_a_step_never_reaches_one(
    make_engine: MakeEngine, fields: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"97 tokens|grammar"):
        ask(make_engine(), ([1], fields))


# A model with a tokenizer, for grammars.


@pytest.fixture
def tiny() -> Iterator[Engine]:
    options = EngineOptions(
        dtype="float32",
        device="cpu",
        threads=1,
        block_size=4,
        max_model_len=200,
        max_num_seqs=4,
        kv_cache_memory_bytes=4 * 2**20,
    )
    engine = load_engine(TINY, options)
    yield engine
    engine.stop()


def wish(schema: dict[str, Any], **fields: Any) -> dict[str, Any]:
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    stops = frozenset({1, 5})
    return {
        "grammar": response_grammar(asked),
        "stop_token_ids": stops,
        "max_tokens": 180,
        "temperature": 1.0,
        **fields,
    }


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def test_answers_follow_their_schemas_beside_others(tiny: Engine) -> None:
    tokenizer = load_tokenizer(TINY)
    asked = [([7 + i, 9], wish(PERSON, seed=i, logprobs=1)) for i in range(8)]
    free = [([7, 9], {"max_tokens": 30})] * 2
    answers = ask(tiny, *asked, *free)
    for answer in answers[:8]:
        assert answer.wait().finish_reason is FinishReason.STOP
        person = json.loads(tokenizer.decode(answer.tokens))
        assert set(person) == {"name", "age"}
        assert 0 <= person["age"] <= 150
        assert len(answer.logprobs) == len(answer.tokens)
    answers[8].wait()
    answers[9].wait()
    (alone,) = ask(tiny, free[0])
    alone.wait()
    assert answers[8].tokens == answers[9].tokens == alone.tokens


def test_cut_short_by_max_tokens_an_answer_is_the_beginning_of_one(tiny: Engine) -> None:
    (whole,) = ask(tiny, ([7, 9], wish(PERSON, seed=3)))
    assert whole.wait().finish_reason is FinishReason.STOP
    (cut,) = ask(tiny, ([7, 9], wish(PERSON, seed=3, max_tokens=4)))
    assert cut.wait().finish_reason is FinishReason.LENGTH
    assert cut.tokens == whole.tokens[:4]


def test_a_grammar_is_compiled_while_others_go_on_and_can_be_aborted(
    tiny: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go = threading.Event(), threading.Event()
    prepare_now = GrammarCompiler.prepare

    def slow(self: GrammarCompiler, grammar: str) -> None:
        entered.set()
        assert go.wait(TIMEOUT)
        prepare_now(self, grammar)

    monkeypatch.setattr(GrammarCompiler, "prepare", slow)
    aborted, stays = ask(tiny, ([7], wish(PERSON, seed=0)), ([7], wish(PERSON, seed=1)))
    assert entered.wait(TIMEOUT)
    other = Answer()
    free = SamplingParams(max_tokens=20, temperature=0.0)
    tiny.submit(Request("other", [9], free, 0.0), other.outputs.put)
    assert other.wait().finish_reason is FinishReason.LENGTH
    tiny.abort("r0")
    assert aborted.wait().finish_reason is FinishReason.ABORT
    go.set()
    assert stays.wait().finish_reason is FinishReason.STOP
    assert aborted.outputs.empty()
    deadline = time.monotonic() + TIMEOUT
    while tiny.stats().num_running:
        assert time.monotonic() < deadline
    assert tiny.stats().num_waiting == 0


def test_a_broken_grammar_ends_its_request_alone(tiny: Engine) -> None:
    broken = wish(PERSON) | {"grammar": '{"grammars": [{"json_schema": {"type": "foo"}}]}'}
    bad, good = ask(tiny, ([7], broken), ([7], wish(PERSON, seed=1)))
    last = bad.wait()
    assert (last.finish_reason, last.refused) == (FinishReason.ERROR, True)
    assert "foo" in (last.error or "")
    assert good.wait().finish_reason is FinishReason.STOP


def test_a_grammar_takes_the_tokens_that_end_it(tiny: Engine) -> None:
    with pytest.raises(ValueError, match="stop_token_ids lacks"):
        ask(tiny, ([7], wish(PERSON, stop_token_ids=frozenset({1}))))


def test_an_engine_that_stops_ends_those_whose_grammar_is_compiled(
    tiny: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    prepare_now = GrammarCompiler.prepare

    def slow(self: GrammarCompiler, grammar: str) -> None:
        assert go.wait(TIMEOUT)
        prepare_now(self, grammar)

    monkeypatch.setattr(GrammarCompiler, "prepare", slow)
    answers = ask(tiny, ([7], wish(PERSON, seed=0)), ([7], wish(PERSON, seed=1)))
    tiny.stop()
    assert {each.wait().finish_reason for each in answers} == {FinishReason.ABORT}
    go.set()

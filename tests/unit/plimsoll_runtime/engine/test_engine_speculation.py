"""Drafts change how many steps an answer takes, and nothing else that comes out."""

import logging
import queue
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from plimsoll_runtime import builtin
from plimsoll_runtime.core.request import (
    FinishReason,
    Request,
    RequestOutput,
    SamplingParams,
    TokenLogprobs,
)
from plimsoll_runtime.core.speculation import SpeculativeConfig, SpeculativeMethod
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.engine.drafts import Proposer
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.loader import load_engine
from plimsoll_runtime.engine.ngram import NgramProposer
from plimsoll_runtime.engine.options import EngineOptions
from plimsoll_runtime.server.structured import response_grammar

TIMEOUT = 30.0
MakeEngine = Callable[..., Engine]
CONFIG = SpeculativeConfig(SpeculativeMethod.NGRAM, 5, prompt_lookup_max=3, prompt_lookup_min=1)


class Answer(NamedTuple):
    """All that came out for one request."""

    tokens: list[int]
    logprobs: list[TokenLogprobs]
    prompt_logprobs: list[TokenLogprobs]
    reason: FinishReason | None
    error: str | None
    pieces: list[int]


Asked = tuple[list[int], dict[str, Any]]


def ask(engine: Engine, asked: list[Asked]) -> list[Answer]:
    boxes: list[queue.Queue[RequestOutput]] = []
    for number, (prompt, fields) in enumerate(asked):
        sampling = SamplingParams(**{"max_tokens": 8, "temperature": 0.0, "seed": number, **fields})
        boxes.append(queue.Queue())
        engine.submit(Request(f"r{number}", prompt, sampling, float(number)), boxes[-1].put)
    if not engine.ready:
        engine.start()
    return [answer_in(box) for box in boxes]


def answer_in(box: "queue.Queue[RequestOutput]") -> Answer:
    answer = Answer([], [], [], None, None, [])
    while answer.reason is None:
        output = box.get(timeout=TIMEOUT)
        answer.tokens.extend(output.new_token_ids)
        answer.pieces.append(len(output.new_token_ids))
        answer.logprobs.extend(output.logprobs or ())
        answer.prompt_logprobs.extend(output.prompt_logprobs)
        answer = answer._replace(reason=output.finish_reason, error=output.error)
    return answer


class Prompter:
    """Drafts what is known to come, and now and then something else."""

    def __init__(self, right: float, answers: dict[tuple[int | None, str], list[int]]) -> None:
        self._rng = random.Random(5)
        self._right = right
        self._answers = answers

    def propose(self, output: SchedulerOutput) -> dict[str, list[int]]:
        drafts = {}
        for item in output.scheduled:
            if item.max_drafts and item.history:
                answer = self._answers[item.sampling.seed, str(item.history.prompt_token_ids)]
                known = answer[item.output_index :][: self._rng.randint(0, item.max_drafts)]
                drafts[item.request_id] = [
                    each if self._rng.random() < self._right else self._rng.randrange(97)
                    for each in known
                ]
        return drafts


WISHES: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0},
    {"temperature": 0.8, "top_p": 0.9, "logprobs": 2},
    {"logprobs": 3},
    {"temperature": 1.3, "top_k": 9, "min_p": 0.02},
    {"temperature": 1.0, "logit_bias": ((5, 4.0), (6, -3.0))},
    {"temperature": 1.0, "allowed_token_ids": tuple(range(50, 97)), "logprobs": 0},
    {"temperature": 1.0, "stop_token_ids": frozenset(range(0, 97, 9)), "min_tokens": 6},
    {"stop_token_ids": frozenset(range(0, 97, 5))},
    {"presence_penalty": 1.0, "frequency_penalty": 0.5, "logprobs": 1},
    {"temperature": 1.0, "repetition_penalty": 1.4},
    {"temperature": 1.0, "bad_words": tuple((each,) for each in range(40))},
    {"prompt_logprobs": 1, "logprobs": 1},
]


def questions(count: int) -> list[Asked]:
    """Some with common beginnings, some whose prompt repeats itself."""
    system = [(11 * i + 5) % 97 for i in range(18)]
    return [
        (
            [*system[: 18 - i % 4], *((7 * i + 3 * j) % 7 for j in range(1 + i % 9))],
            {"max_tokens": 6 + i % 19, "seed": i, **WISHES[i % len(WISHES)]},
        )
        for i in range(count)
    ]


def same(mine: Answer, other: Answer) -> None:
    assert mine.tokens == other.tokens
    assert (mine.reason, mine.error) == (other.reason, other.error)
    for kind in ("logprobs", "prompt_logprobs"):
        for one, two in zip(getattr(mine, kind), getattr(other, kind), strict=True):
            assert (one.token_id, one.rank) == (two.token_id, two.rank)
            assert one.logprob == pytest.approx(two.logprob, abs=1e-4)
            assert [each[0] for each in one.top] == [each[0] for each in two.top]


@pytest.mark.parametrize("right", [None, 0.0, 0.8, 1.0])
@pytest.mark.parametrize("tight", [False, True])
def test_all_that_comes_out_is_the_same(
    make_engine: MakeEngine, right: float | None, tight: bool
) -> None:
    asked = questions(52)
    plain = ask(make_engine(seqs=1, tokens=64), asked)
    known = {
        (fields["seed"], str(prompt)): answer.tokens
        for (prompt, fields), answer in zip(asked, plain, strict=True)
    }
    # The answers of a random model seldom repeat anything: there prompt lookup is mostly wrong.
    proposer: Proposer = NgramProposer(CONFIG) if right is None else Prompter(right, known)
    shape = {"seqs": 6, "tokens": 30, "blocks": 24} if tight else {"seqs": 8, "tokens": 64}
    engine = make_engine(speculation=CONFIG, proposer=proposer, **shape)
    for mine, other in zip(ask(engine, asked), plain, strict=True):
        same(mine, other)
    stats = engine.stats()
    assert (stats.num_preemptions > 0) == tight
    assert stats.prefix_cache_hits > 0
    assert stats.kv_cache_usage == 0.0
    told = stats.speculation
    assert told is not None
    assert told.num_draft_tokens > 100
    if right != 0.0:
        assert told.num_accepted_tokens > (5 if right is None else 200)
    if right == 1.0:
        assert told.num_accepted_tokens == told.num_draft_tokens


def test_what_is_counted_is_what_was_computed_and_accepted(make_engine: MakeEngine) -> None:
    asked: list[Asked] = [([3, 1, 4], {"max_tokens": 13})]
    (plain,) = ask(make_engine(), asked)
    known = {(0, "[3, 1, 4]"): plain.tokens}

    class Whole(Prompter):
        def propose(self, output: SchedulerOutput) -> dict[str, list[int]]:
            (item,) = output.scheduled
            begin = item.output_index
            guess = plain.tokens[begin : begin + item.max_drafts]
            if begin == 7:
                guess[1] = (guess[1] + 1) % 97
            return {item.request_id: guess}

    engine = make_engine(speculation=CONFIG, proposer=Whole(1.0, known), model_len=64)
    (mine,) = ask(engine, asked)
    same(mine, plain)
    # The prompt's token; 5 drafts and one; of 5 the second is wrong; 3, which are all that may be.
    assert mine.pieces == [1, 6, 2, 4]
    stats = engine.stats()
    assert stats.speculation is not None
    assert stats.speculation.num_drafts == 3
    assert stats.speculation.num_draft_tokens == 5 + 5 + 3
    assert stats.speculation.accepted_by_position == (3, 2, 2, 1, 1)
    assert [sample.num_tokens for sample in stats.step_samples] == [3, 6, 6, 4]
    assert [sample.num_context_tokens for sample in stats.step_samples] == [3, 9, 15, 15]
    assert [sample.num_pairs for sample in stats.step_samples] == [
        sum(range(1, 4)),
        sum(range(4, 10)),
        sum(range(10, 16)),
        sum(range(12, 16)),
    ]


def test_a_proposer_that_fails_is_done_without_and_told_of_once(
    make_engine: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def propose(self, output: SchedulerOutput) -> dict[str, list[int]]:
            raise RuntimeError("no idea")

    asked = questions(6)
    plain = ask(make_engine(), asked)
    with caplog.at_level(logging.ERROR):
        answers = ask(make_engine(speculation=CONFIG, proposer=Broken()), asked)
    for mine, other in zip(answers, plain, strict=True):
        same(mine, other)
    assert [record.message.partition(";")[0] for record in caplog.records] == ["drafting failed"]


def test_a_fault_after_a_draft_is_met_where_it_would_be_without(
    make_engine: MakeEngine, oracle_and_folder: tuple[object, Path]
) -> None:
    """A token whose embedding is not finite: an answer that reaches it ends with an error there."""
    asked: list[Asked] = [([3, 1, 4], {"max_tokens": 12}), ([2, 7], {"max_tokens": 12})]
    healthy = ask(make_engine(), asked)
    tokens = healthy[0].tokens
    cursed = next(t for t in tokens[3:7] if t not in (3, 1, 4, 2, 7, *healthy[1].tokens))
    known = {
        (i, str(p)): a.tokens for i, ((p, _), a) in enumerate(zip(asked, healthy, strict=True))
    }

    def spoil(runner: Any) -> Any:
        embedding = runner.model.embed_tokens
        weight = embedding.weight.clone()
        weight[cursed] = torch.nan
        embedding.matrix = runner.model.operations.matrix(weight)
        return runner

    plain = ask(make_engine(spoil), asked)
    mine = ask(make_engine(spoil, speculation=CONFIG, proposer=Prompter(1.0, known)), asked)
    for one, other in zip(mine, plain, strict=True):
        same(one, other)
    assert plain[0].reason is FinishReason.ERROR
    assert plain[0].tokens == tokens[: tokens.index(cursed) + 1]


def person(seed: int) -> dict[str, Any]:
    names = {"type": "array", "items": {"type": "string", "maxLength": 5}, "minItems": 4}
    schema = {
        "type": "object",
        "properties": {"names": names, "more names": {**names, "maxItems": 6}},
        "required": ["names", "more names"],
        "additionalProperties": False,
    }
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return {
        "grammar": response_grammar(asked),
        "stop_token_ids": frozenset({1, 5}),
        "max_tokens": 90,
        "temperature": 1.0,
        "seed": seed,
        "presence_penalty": 0.5 * (seed % 2),
        "logprobs": seed % 3,
    }


def test_answers_that_follow_a_grammar_are_the_same_in_fewer_steps() -> None:
    def engine(config: SpeculativeConfig | None) -> Engine:
        options = EngineOptions(
            dtype="float32",
            device="cpu",
            threads=1,
            max_model_len=128,
            max_num_seqs=4,
            kv_cache_memory_bytes=4 * 2**20,
            speculative_config=config,
        )
        return load_engine(builtin.path("tiny"), options)

    asked: list[Asked] = [([7, 9], person(seed)) for seed in range(8)]
    asked.append(([7, 9], {"max_tokens": 40}))
    plain, drafting = engine(None), engine(replace(CONFIG, prompt_lookup_min=2))
    try:
        for one, other in zip(ask(drafting, asked), ask(plain, asked), strict=True):
            same(one, other)
            assert one.error is None
        told = drafting.stats().speculation
        assert told is not None
        assert told.num_accepted_tokens > 100
        assert drafting.stats().num_steps < 0.9 * plain.stats().num_steps
    finally:
        plain.stop()
        drafting.stop()

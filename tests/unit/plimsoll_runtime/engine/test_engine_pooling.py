"""Vectors of prompts against transformers in fp32, among requests that generate."""

import queue
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM as Oracle

from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.pooling import PooledSpan, Pooling
from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import ScheduledRequest
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.pooling import NOT_FINITE, pool_prompts
from plimsoll_runtime.engine.runner import ModelRunner

TIMEOUT = 30.0
MakeRunner = Callable[[EngineLimits], ModelRunner]
Greedy = Callable[[list[int], int], list[int]]
POOLINGS = (Pooling.LAST, Pooling.FIRST, Pooling.MEAN)


@torch.inference_mode()
def vector(oracle: Oracle, prompt: list[int], pooling: Pooling) -> torch.Tensor:
    """From transformers' last hidden states, which are those after the last norm."""
    hidden = oracle.model(torch.tensor([prompt])).last_hidden_state[0]
    return {
        Pooling.LAST: hidden[-1],
        Pooling.FIRST: hidden[0],
        Pooling.MEAN: hidden.sum(dim=0),
    }[pooling]


class Answer:
    """What came back for a request."""

    def __init__(self, engine: Engine, request: Request) -> None:
        self._box: queue.Queue[RequestOutput] = queue.Queue()
        self.tokens: list[int] = []
        self.pieces: list[torch.Tensor] = []
        self.last: RequestOutput | None = None
        engine.submit(request, self._box.put)

    def wait(self) -> RequestOutput:
        while self.last is None or self.last.finish_reason is None:
            self.last = self._box.get(timeout=TIMEOUT)
            self.tokens += self.last.new_token_ids
            if self.last.pooled:
                piece = torch.frombuffer(bytearray(self.last.pooled), dtype=torch.float32)
                self.pieces.append(piece)
        return self.last

    @property
    def vector(self) -> torch.Tensor:
        return torch.stack(self.pieces).sum(dim=0)


def prompts() -> list[list[int]]:
    """Of mixed lengths, many with a common beginning."""
    system = [(11 * i + 5) % 97 for i in range(21)]
    return [
        [*system[: 21 - 4 * (i % 4)], *((7 * i + 3 * j) % 97 for j in range(i % 13))]
        for i in range(24)
    ] + [[5], [5, 6]]


# Much room; prompts in chunks of a few tokens; too few blocks for all at once.
@pytest.mark.parametrize(("seqs", "tokens", "blocks"), [(8, 64, 256), (4, 7, 64), (6, 16, 18)])
def test_vectors_are_those_of_transformers_beside_generation(
    make_runner: MakeRunner,
    oracle_and_folder: tuple[Oracle, Path],
    greedy: Greedy,
    seqs: int,
    tokens: int,
    blocks: int,
) -> None:
    limits = EngineLimits(seqs, tokens, 64, blocks, 4)
    runner = make_runner(limits)
    engine = Engine(Scheduler(limits), runner, runner.model.config)
    engine.start()
    try:
        pooled, generated = [], []
        for i, prompt in enumerate(prompts()):
            sampling = SamplingParams(0, pooling=POOLINGS[i % 3])
            pooled.append(Answer(engine, Request(f"p{i}", prompt, sampling, 0.0)))
            if i % 2:
                greedily = SamplingParams(16, temperature=0.0)
                generated.append((prompt, Answer(engine, Request(f"g{i}", prompt, greedily, 0.0))))
        for i, prompt in enumerate(prompts()):
            last = pooled[i].wait()
            assert (last.error, last.finish_reason) == (None, FinishReason.LENGTH)
            assert pooled[i].tokens == []
            expected = vector(oracle_and_folder[0], prompt, POOLINGS[i % 3])
            torch.testing.assert_close(pooled[i].vector, expected, rtol=1e-4, atol=1e-4)
        for prompt, answer in generated:
            answer.wait()
            assert answer.tokens == greedy(prompt, 16)
        stats = engine.stats()
        found = [each.last.cached_tokens for each in pooled if each.last]
        assert any(found[::3]), "prefixes are found for the last token"
        assert not any(found[1::3] + found[2::3])
        if tokens == 7:
            assert any(len(each.pieces) > 1 for each in pooled[2::3]), "in chunks"
        if blocks == 18:
            assert stats.num_preemptions > 0
        assert stats.kv_cache_usage == 0.0
    finally:
        engine.stop()


def test_a_prompt_that_is_found_gives_the_same_vector(
    make_runner: MakeRunner, oracle_and_folder: tuple[Oracle, Path]
) -> None:
    limits = EngineLimits(4, 16, 64, 64, 4)
    runner = make_runner(limits)
    engine = Engine(Scheduler(limits), runner, runner.model.config)
    engine.start()
    prompt = [(5 * i + 2) % 97 for i in range(64)]  # the whole context
    sampling = SamplingParams(0, pooling=Pooling.LAST)
    try:
        for number, cached in enumerate((0, 60)):
            answer = Answer(engine, Request(str(number), prompt, sampling, 0.0))
            assert answer.wait().cached_tokens == cached
            expected = vector(oracle_and_folder[0], prompt, Pooling.LAST)
            torch.testing.assert_close(answer.vector, expected, rtol=1e-4, atol=1e-4)
    finally:
        engine.stop()


def item(name: str, start: int, count: int, pooled: PooledSpan | None) -> ScheduledRequest:
    sampling = SamplingParams(0, pooling=Pooling.MEAN)
    return ScheduledRequest(name, [0] * count, start, [0], False, 0, sampling, None, None, pooled)


def test_sums_are_of_each_requests_own_rows_and_one_that_is_not_finite_ends_alone() -> None:
    hidden = torch.arange(18, dtype=torch.bfloat16).view(6, 3)
    hidden[5] = torch.inf
    items = [
        item("decodes", 9, 1, None),
        item("good", 4, 3, PooledSpan(5, 7)),
        item("bad", 0, 2, PooledSpan(0, 2)),
    ]
    pooled = pool_prompts(hidden, items, lambda rows: rows * 2)
    found = torch.frombuffer(bytearray(pooled.vectors["good"]), dtype=torch.float32)
    assert found.tolist() == [2 * (6 + 9), 2 * (7 + 10), 2 * (8 + 11)]
    assert set(pooled.vectors) == {"good"}
    assert pooled.errors == {"bad": NOT_FINITE}


def test_where_nobody_asks_nothing_is_computed() -> None:
    def norm(_: torch.Tensor) -> torch.Tensor:
        raise AssertionError("called")

    pooled = pool_prompts(torch.ones(2, 3), [item("a", 0, 2, None)], norm)
    assert (pooled.vectors, pooled.errors) == ({}, {})

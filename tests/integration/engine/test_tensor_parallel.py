"""Engines of several processes give the tokens of one."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from plimsoll_runtime.attention.kv_cache import bytes_per_block
from plimsoll_runtime.core.partition import shard_config
from plimsoll_runtime.core.pooling import Pooling
from plimsoll_runtime.core.request import (
    FinishReason,
    SamplingParams,
    TokenLogprobs,
)
from plimsoll_runtime.core.speculation import SpeculativeConfig, SpeculativeMethod
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.model.loader import read_model_config
from tests.integration.engine.several_ranks import (
    GQA,
    TIMEOUT,
    Box,
    Load,
    Question,
    loading,
    save,
    submit,
)

pytestmark = pytest.mark.timeout(240)
BLOCKS = 40
MQA = {"num_key_value_heads": 1, "tie_word_embeddings": True, "mlp_bias": True}
SHAPES: dict[str, tuple[dict[str, object], int]] = {"gqa-2": (GQA, 2), "mqa-4": (MQA, 4)}


class Pair(NamedTuple):
    """One rank and several with the same model and limits."""

    one: Engine
    several: Engine


@pytest.fixture(scope="class", params=list(SHAPES))
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """Shared by tests that leave both as able to serve as before: ranks take seconds to start."""
    shape, size = SHAPES[request.param]
    folder = save(tmp_path_factory.mktemp(request.param), **shape)
    with loading() as make:
        yield Pair(*(make(folder, each, **tight(folder, each)) for each in (1, size)))


def tight(folder: Path, size: int) -> dict[str, object]:
    """Options under which requests are cut, preempted and found in the cache."""
    shard = shard_config(read_model_config(folder), size)
    return {
        "block_size": 4,
        "max_num_seqs": 6,
        "max_num_batched_tokens": 12,
        "max_model_len": 72,
        "kv_cache_memory_bytes": BLOCKS * bytes_per_block(shard, 4, torch.float32),
    }


def questions() -> list[Question]:
    """Prompts with common beginnings, longer than a step; half of the answers are random."""
    system = [(11 * i + 5) % 97 for i in range(21)]
    return [
        Question(
            [*system[: 21 - i % 5], *((7 * i + 3 * j) % 97 for j in range(i % 11))],
            SamplingParams(20, temperature=i % 2 * 1.0, top_p=0.9, top_k=i % 3 * 20, seed=i),
        )
        for i in range(28)
    ]


def tokens_of(box: Box) -> list[int]:
    tokens: list[int] = []
    while True:
        output = box.get(timeout=TIMEOUT)
        assert output.error is None
        tokens += output.new_token_ids
        if output.finish_reason is not None:
            return tokens


def vector_of(box: Box) -> torch.Tensor:
    pieces: list[torch.Tensor] = []
    while True:
        output = box.get(timeout=TIMEOUT)
        assert output.error is None
        if output.pooled:
            pieces.append(torch.frombuffer(bytearray(output.pooled), dtype=torch.float32))
        if output.finish_reason is not None:
            return torch.stack(pieces).sum(dim=0)


def answers(engine: Engine) -> list[list[int]]:
    boxes = [submit(engine, i, question) for i, question in enumerate(questions())]
    return [tokens_of(box) for box in boxes]


def test_drafts_are_rank_0s_own_and_change_no_token(load: Load, tmp_path: Path) -> None:
    folder = save(tmp_path, **GQA)
    config = SpeculativeConfig(SpeculativeMethod.DRAFT_MODEL, 3, model=str(folder))
    options = tight(folder, 1) | {"max_num_batched_tokens": 24}
    drafting = load(folder, 2, **options, speculative_config=config)
    assert answers(drafting) == answers(load(folder, 1, **tight(folder, 1)))
    told = drafting.stats().speculation
    assert told is not None
    assert 0 < told.num_accepted_tokens < told.num_draft_tokens
    assert drafting.stats().num_preemptions > 0


def scored_questions() -> list[Question]:
    """Prompts to be scored, in several chunks, and what only rank 0 is told of."""
    wishes: list[dict[str, object]] = [
        {"prompt_logprobs": 3, "max_tokens": 1},
        {"prompt_logprobs": 0, "logprobs": 2, "temperature": 0.0},
        {"logprobs": 4, "temperature": 0.8, "presence_penalty": 1.5, "repetition_penalty": 1.3},
        {},
        {"prompt_logprobs": 1, "logit_bias": ((5, 30.0), (7, 31.0)), "temperature": 0.7},
    ]
    return [
        Question(
            [(7 * i + 3 * j * j + 1) % 97 for j in range(3 + 5 * i % 31)],
            SamplingParams(**{"max_tokens": 9, "seed": i, **wishes[i % 5]}),  # type: ignore[arg-type]
        )
        for i in range(20)
    ]


class Answer(NamedTuple):
    """Tokens and their logprobs, and those of the prompt."""

    tokens: list[int]
    logprobs: list[TokenLogprobs]
    prompt_logprobs: list[TokenLogprobs]


def scored_answer(box: Box) -> Answer:
    answer = Answer([], [], [])
    while True:
        output = box.get(timeout=TIMEOUT)
        assert output.error is None
        answer.tokens.extend(output.new_token_ids)
        answer.logprobs.extend(output.logprobs or ())
        answer.prompt_logprobs.extend(output.prompt_logprobs or ())
        if output.finish_reason is not None:
            return answer


def same(several: list[TokenLogprobs], one: list[TokenLogprobs]) -> None:
    for mine, expected in zip(several, one, strict=True):
        assert (mine.token_id, mine.rank) == (expected.token_id, expected.rank)
        assert mine.logprob == pytest.approx(expected.logprob, abs=1e-4)
        assert [each[0] for each in mine.top] == [each[0] for each in expected.top]


class TestOneRankAndSeveral:
    """Both stay able to serve, and end before other tests look for processes."""

    def test_tokens_are_those_of_one_rank_under_load(self, pair: Pair) -> None:
        one, several = pair.one, pair.several
        expected = answers(one)
        assert answers(several) == expected
        assert len({tuple(each) for each in expected}) > 14
        stats = several.stats()
        assert stats.num_blocks == BLOCKS
        assert stats.num_preemptions > 0
        assert stats.prefix_cache_hits > 0
        assert (stats.num_steps, stats.num_preemptions) == (
            one.stats().num_steps,
            one.stats().num_preemptions,
        )

    def test_prompts_are_scored_and_wishes_fulfilled_as_by_one_rank(self, pair: Pair) -> None:
        asked = scored_questions()
        found: list[list[Answer]] = []
        for engine in (pair.one, pair.several):
            boxes = [submit(engine, i, question) for i, question in enumerate(asked)]
            found.append([scored_answer(box) for box in boxes])
        for question, one, several in zip(asked, *found, strict=True):
            sampling = question.sampling
            assert several.tokens == one.tokens
            count = 0 if sampling.prompt_logprobs is None else len(question.prompt) - 1
            assert len(one.prompt_logprobs) == count
            assert len(one.logprobs) == (0 if sampling.logprobs is None else len(one.tokens))
            for kind in ("logprobs", "prompt_logprobs"):
                same(getattr(several, kind), getattr(one, kind))
        assert {5, 7} <= {token for answer in found[0] for token in answer.tokens}

    def test_vectors_are_those_of_one_rank(self, pair: Pair) -> None:
        asked = [
            Question(each.prompt, SamplingParams(0, pooling=pooling))
            for each in questions()[::3]
            for pooling in Pooling
        ]
        found = [
            [vector_of(box) for box in [submit(engine, i, each) for i, each in enumerate(asked)]]
            for engine in pair
        ]
        for one, several in zip(*found, strict=True):
            torch.testing.assert_close(several, one, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("pair", ["gqa-2"], indirect=True)
    def test_a_failure_to_choose_ends_requests_and_leaves_the_ranks_in_step(
        self, pair: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = pair.several
        question = Question(
            list(range(2, 20)), SamplingParams(4, temperature=0.0, prompt_logprobs=1)
        )
        expected = scored_answer(submit(engine, 0, question))
        with monkeypatch.context() as patch:
            patch.setattr("plimsoll_runtime.engine.choice.sample", lambda *_: 1 / 0)
            output = submit(engine, 1, question).get(timeout=TIMEOUT)
            assert output.finish_reason is FinishReason.ERROR
        assert scored_answer(submit(engine, 2, question)) == expected
        assert engine.failed is None

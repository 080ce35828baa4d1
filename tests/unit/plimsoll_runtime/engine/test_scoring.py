"""Which logits judge which prompt tokens, in bounded pieces, and what is not finite."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.core.step import PromptTargets, ScheduledRequest
from plimsoll_runtime.engine import scoring
from plimsoll_runtime.engine.scoring import head_chunks, score_prompts, target_rows

VOCAB = 11


def item(name: str, start: int, count: int, targets: PromptTargets | None) -> ScheduledRequest:
    sampling = SamplingParams(max_tokens=1, prompt_logprobs=2 if targets else None)
    return ScheduledRequest(name, [0] * count, start, [0], True, 0, sampling, None, targets)


def test_rows_are_counted_over_all_requests() -> None:
    items = [
        item("decodes", 9, 1, None),
        item("chunk", 4, 3, PromptTargets(4, [7, 8, 9])),
        item("again", 0, 5, PromptTargets(3, [5, 6])),
        item("plain", 0, 2, None),
    ]
    assert target_rows(items) == [1, 2, 3, 7, 8]
    # The "hidden states" are logits already, a row for each token of the step.
    hidden = torch.randn(11, VOCAB, generator=torch.Generator().manual_seed(0))
    scores = score_prompts(hidden, items, lambda rows: rows, VOCAB)
    assert not scores.not_finite
    expected = hidden.log_softmax(dim=-1)
    told = scores.prompt_logprobs
    assert [each.token_id for each in told["chunk"]] == [7, 8, 9]
    assert [each.logprob for each in told["chunk"]] == expected[[1, 2, 3], [7, 8, 9]].tolist()
    assert [each.logprob for each in told["again"]] == expected[[7, 8], [5, 6]].tolist()
    assert all(len(each.top) == 2 for each in told["again"])
    assert set(told) == {"chunk", "again"}


@given(st.integers(0, 50), st.integers(1, 20))
def test_chunks_are_all_rows_in_order_and_none_too_large(count: int, per_chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "CHUNK_BYTES", per_chunk * 4 * VOCAB + 3)
        chunks = list(head_chunks(range(count), VOCAB))
    assert [row for chunk in chunks for row in chunk] == list(range(count))
    assert all(len(chunk) <= per_chunk for chunk in chunks)


def test_the_head_sees_no_more_rows_than_a_chunk_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "CHUNK_BYTES", 1)
    seen: list[int] = []

    def head(rows: Tensor) -> Tensor:
        seen.append(len(rows))
        return rows

    scores = score_prompts(
        torch.zeros(4, VOCAB), [item("a", 0, 4, PromptTargets(0, [1, 2, 3]))], head, VOCAB
    )
    assert seen == [1, 1, 1]
    assert len(scores.prompt_logprobs["a"]) == 3


def test_a_prompt_whose_logits_are_not_finite_is_named_alone() -> None:
    hidden = torch.zeros(4, VOCAB)
    hidden[0, 3] = float("nan")
    items = [
        item("bad", 0, 2, PromptTargets(0, [1])),
        item("good", 0, 2, PromptTargets(0, [2])),
    ]
    scores = score_prompts(hidden, items, lambda rows: rows, VOCAB)
    assert scores.not_finite == {"bad"}
    assert scores.prompt_logprobs["good"][0].rank == 1

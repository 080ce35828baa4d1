"""Penalties against transformers and their definitions; counts that grow as an output does."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import RepetitionPenaltyLogitsProcessor

from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.engine.penalties import START_CAPACITY, TokenCounts, penalize

VOCAB = 50
TOKENS = st.lists(st.integers(0, VOCAB - 1), max_size=3 * START_CAPACITY)
PENALTIES = st.builds(
    SamplingParams,
    max_tokens=st.just(1),
    repetition_penalty=st.sampled_from([1.0, 0.5, 1.3, 2.0]),
    frequency_penalty=st.sampled_from([0.0, 0.7, -1.0]),
    presence_penalty=st.sampled_from([0.0, 1.5, -0.3]),
)
REQUESTS = st.lists(st.tuples(PENALTIES, TOKENS, TOKENS), min_size=1, max_size=5)


def logits(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * 4


def counted(sampling: SamplingParams, prompt: list[int], output: list[int]) -> TokenCounts:
    counts = TokenCounts(prompt if sampling.repetition_penalty != 1.0 else ())
    counts.take(output)
    return counts


@pytest.mark.parametrize("penalty", [0.5, 1.2, 3.0])
def test_repetition_is_transformers(penalty: float) -> None:
    values = logits(2)
    prompt, output = [1, 2, 3, 3], [9, 9, 1]
    expected = RepetitionPenaltyLogitsProcessor(penalty)(
        torch.tensor([prompt + output] * 2), values.clone()
    )
    sampling = SamplingParams(max_tokens=1, repetition_penalty=penalty)
    penalize(values, [0, 1], [sampling] * 2, [counted(sampling, prompt, output)] * 2)
    assert torch.equal(values, expected)


@given(REQUESTS)
def test_each_row_is_what_the_definition_says(
    requests: list[tuple[SamplingParams, list[int], list[int]]],
) -> None:
    values = logits(len(requests) + 2)
    before = values.clone()
    rows = list(range(1, len(requests) + 1))
    penalize(values, rows, [each[0] for each in requests], [counted(*each) for each in requests])
    for row, (sampling, prompt, output) in zip(rows, requests, strict=True):
        times = Counter(output)
        for token in range(VOCAB):
            value = float(before[row, token])
            if token in prompt or token in times:
                strength = sampling.repetition_penalty
                value = value / strength if value > 0 else value * strength
            value -= sampling.frequency_penalty * times[token]
            value -= sampling.presence_penalty * (times[token] > 0)
            assert float(values[row, token]) == pytest.approx(value, abs=1e-4)
    assert torch.equal(values[[0, -1]], before[[0, -1]])


@given(TOKENS, st.lists(TOKENS, max_size=4))
def test_counts_that_grow_equal_counts_from_scratch(
    prompt: list[int], pieces: list[list[int]]
) -> None:
    grown = TokenCounts(prompt)
    for piece in pieces:
        grown.take(piece)
    output = [token for piece in pieces for token in piece]
    pairs = zip(grown.token_ids.tolist(), grown.output_counts.tolist(), strict=True)
    assert sorted(pairs) == sorted((t, output.count(t)) for t in {*prompt, *output})
    assert grown.num_taken == len(output)


def test_a_request_without_tokens_so_far_changes_nothing() -> None:
    values = logits(1)
    before = values.clone()
    sampling = SamplingParams(max_tokens=1, presence_penalty=2.0)
    penalize(values, [0], [sampling], [TokenCounts()])
    assert torch.equal(values, before)

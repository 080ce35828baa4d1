"""Sampling draws from the right distribution, and for each request as if it were alone."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.engine.sampler import SampleRow, Scan, _mix, sample, truncated, uniform

VOCAB = 12
DRAWS = 2000


def params(
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
    min_p: float = 0.0,
) -> SamplingParams:
    return SamplingParams(
        max_tokens=1, temperature=temperature, top_p=top_p, top_k=top_k, seed=seed, min_p=min_p
    )


def logits(seed: int = 0, rows: int = 1) -> Tensor:
    return torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * 2


def truncated_softmax(row: Tensor, sampling: SamplingParams) -> list[float]:
    """The distribution that the parameters ask for, token by token in plain Python."""
    weights = [math.exp(value / sampling.temperature) for value in row.tolist()]
    order = sorted(range(len(weights)), key=lambda i: -weights[i])
    order = [i for i in order if weights[i] >= sampling.min_p * weights[order[0]]]
    if sampling.top_k:
        order = order[: sampling.top_k]
    total = sum(weights[i] for i in order)
    kept, mass = [], 0.0
    for i in order:
        kept.append(i)
        mass += weights[i] / total
        if mass >= sampling.top_p:
            break
    total = sum(weights[i] for i in kept)
    return [weights[i] / total if i in kept else 0.0 for i in range(len(weights))]


@pytest.mark.parametrize(
    "sampling",
    [
        params(),
        params(temperature=0.5),
        params(temperature=2.0),
        params(top_k=1),
        params(top_k=4),
        params(top_p=0.5),
        params(top_p=0.9, temperature=1.5),
        params(top_k=6, top_p=0.7, seed=99),
        params(top_k=500),
        params(top_p=1e-9),
        params(min_p=0.1),
        params(min_p=1.0, temperature=1.5),
        params(min_p=0.05, top_k=4, top_p=0.8, temperature=0.7),
    ],
)
def test_the_distribution_is_the_one_asked_for(sampling: SamplingParams) -> None:
    row = logits(1)
    expected = truncated_softmax(row[0], sampling)
    rows = [SampleRow(sampling, index) for index in range(DRAWS)]
    tokens = sample(row.expand(DRAWS, VOCAB), rows)
    counts = [tokens.count(token) for token in range(VOCAB)]
    for count, probability in zip(counts, expected, strict=True):
        if probability == 0.0:
            assert count == 0
        # Five standard deviations of the binomial; the draws are the same in every run.
        deviation = math.sqrt(DRAWS * probability * (1 - probability))
        assert abs(count - DRAWS * probability) <= 5 * deviation + 1


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("min_p", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("top_k", [0, 1, 5, 200])
@pytest.mark.parametrize("top_p", [1.0, 0.95, 0.4])
def test_what_is_left_is_what_transformers_leaves(
    temperature: float, min_p: float, top_k: int, top_p: float
) -> None:
    values = torch.randn(20, 100, generator=torch.Generator().manual_seed(1)) * 3
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if min_p:
        warpers.append(MinPLogitsWarper(min_p))
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    expected = warpers(torch.zeros(20, 1, dtype=torch.int64), values.clone()).softmax(dim=-1)
    rows = [SampleRow(params(temperature, top_p, top_k, min_p=min_p), 0)] * 20
    left = truncated(values, rows)
    assert torch.equal(left > 0, expected > 0)
    torch.testing.assert_close((left / left.sum(-1, keepdim=True)).float(), expected)


def test_rounding_cannot_swap_near_ties() -> None:
    """Two logits trade places by less than fp32 arithmetic's error: all draws stay the same."""
    values = torch.full((1, 8), -3.0)
    values[0, 2], values[0, 5] = 1.0, 1.0 - 1e-6
    swapped = values[:, [0, 1, 5, 3, 4, 2, 6, 7]]
    rows = [SampleRow(params(top_p=0.9, seed=seed), 0) for seed in range(500)]
    draws = sample(values.expand(500, 8), rows)
    assert sample(swapped.expand(500, 8), rows) == draws
    assert {2, 5} == set(draws)


def test_tokens_that_are_ruled_out_are_never_drawn() -> None:
    values = logits(3).expand(400, VOCAB).clone()
    values[:, [0, 3, 4, 11]] = float("-inf")
    for sampling in (params(), params(top_p=0.99), params(top_k=11), params(min_p=1e-9)):
        rows = [SampleRow(sampling, index) for index in range(400)]
        scan = Scan(values.argmax(dim=-1).tolist(), [True] * 400)
        drawn = set(sample(values, rows, scan))
        assert not drawn & {0, 3, 4, 11, None}
        assert len(drawn) > 4


def test_greedy_takes_the_largest() -> None:
    values = logits(2, rows=5)
    rows = [SampleRow(params(temperature=0.0, top_k=3, top_p=0.5), 0)] * 5
    assert sample(values, rows) == values.argmax(-1).tolist()


def test_a_tiny_temperature_is_greedy_and_finite() -> None:
    values = logits(3, rows=4) * 100
    rows = [SampleRow(params(temperature=1e-30, top_p=p), 0) for p in (1.0, 0.9, 0.5, 1.0)]
    assert sample(values, rows) == values.argmax(-1).tolist()


mixed = st.lists(
    st.builds(
        params,
        temperature=st.sampled_from([0.0, 0.7, 1.0, 3.0]),
        top_p=st.sampled_from([1.0, 0.8, 0.3]),
        top_k=st.sampled_from([0, 1, 5]),
        min_p=st.sampled_from([0.0, 0.1]),
        seed=st.integers(-(2**70), 2**70),
    ),
    min_size=1,
    max_size=8,
)


@given(mixed, st.integers(0, 1000))
def test_a_request_gets_what_it_gets_alone(requests: list[SamplingParams], index: int) -> None:
    values = logits(4, rows=len(requests))
    rows = [SampleRow(sampling, index + i) for i, sampling in enumerate(requests)]
    together = sample(values, rows)
    alone = [sample(values[i : i + 1], [row])[0] for i, row in enumerate(rows)]
    assert together == alone


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_that_is_not_finite_spoils_no_other(bad: float, temperature: float) -> None:
    values = logits(5, rows=3)
    rows = [SampleRow(params(temperature, top_p=0.9, seed=i), 0) for i in range(3)]
    clean = sample(values, rows)
    values[1, 7] = bad
    assert sample(values, rows) == [clean[0], None, clean[2]]


def test_nothing_to_sample() -> None:
    assert sample(torch.empty(0, VOCAB), []) == []


def test_greedy_alone_never_sorts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("sorted")

    monkeypatch.setattr(torch.Tensor, "sort", refuse)
    rows = [SampleRow(params(temperature=0.0, top_k=3), 0), SampleRow(params(), 0)]
    sample(logits(6, rows=2), rows)
    with pytest.raises(AssertionError, match="sorted"):
        sample(logits(6), [SampleRow(params(top_k=3), 0)])


def test_uniform_is_uniform_and_fixed() -> None:
    numbers = [uniform(seed, index) for seed in range(50) for index in range(100)]
    assert all(0.0 <= number < 1.0 for number in numbers)
    assert len(set(numbers)) == len(numbers)
    for tenth in range(10):
        assert 400 < sum(tenth <= 10 * number < tenth + 1 for number in numbers) < 600
    # Answers to a seed must not change between releases without notice.
    assert uniform(0, 0) == 0.6524484863740322


def test_the_mixing_function_is_splitmix64() -> None:
    """The first outputs of the published generator for seed 0."""
    states = [(k * 0x9E3779B97F4A7C15) % 2**64 for k in range(3)]
    assert [_mix(state) for state in states] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]

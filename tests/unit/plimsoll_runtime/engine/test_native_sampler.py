"""Choosing tokens by the kernels against torch, on every instruction set of this machine."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.engine.native_sampler import NativeSampler, choose_sampler
from plimsoll_runtime.engine.sampler import (
    TORCH_SAMPLER,
    SampleRow,
    Scan,
    sample,
    truncated,
    uniform,
)
from plimsoll_runtime.kernels.library import InstructionSet
from tests.unit.plimsoll_runtime.built_kernels import kernels

NEAR = 1e-5
"""How far from a border of the cumulative distribution the kernels' fp32 may choose otherwise."""

on_every_instruction_set = pytest.mark.parametrize(
    "instruction_set", list(InstructionSet), ids=lambda each: each.name
)
# Around the borders of vectors and blocks.
vocabs = st.sampled_from([1, 2, 7, 15, 16, 17, 33, 255, 256, 257, 300, 513, 1000, 5003])
kinds = st.sampled_from(["normal", "flat", "equal", "wide", "few", "one"])
requests = st.builds(
    SamplingParams,
    max_tokens=st.just(1),
    temperature=st.sampled_from([1e-40, 1e-30, 0.1, 0.7, 1.0, 2.0, 100.0]),
    top_p=st.sampled_from([1.0, 0.9999, 0.9, 0.5, 1e-9]),
    top_k=st.sampled_from([0, 1, 3, 16, 17, 50, 400, 10_000]),
    min_p=st.sampled_from([0.0, 0.0, 1e-9, 0.02, 0.3, 1.0]),
    seed=st.integers(0, 10_000),
)


def native(instruction_set: InstructionSet | None = None) -> NativeSampler:
    if instruction_set is not None and instruction_set > kernels().best:
        pytest.skip(f"this processor has no {instruction_set.name}")
    return NativeSampler(kernels(), instruction_set)


def logits(kind: str, rows: int, vocab: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, vocab, generator=generator)
    if kind == "flat":
        return values * 1e-3
    if kind == "equal":
        # Only a few different ones, 0 and -0 among them.
        return values.round()
    if kind == "wide":
        return values * 50
    if kind in ("few", "one"):
        likely = torch.rand(rows, vocab, generator=generator) < (0.1 if kind == "few" else 0)
        likely[:, torch.randint(vocab, (1,), generator=generator)] = True
        return (values * 2).masked_fill(~likely, float("-inf"))
    return values * 3


def scan_of(values: Tensor) -> Scan:
    return Scan(values.argmax(dim=-1).tolist(), [True] * len(values))


def acceptable(values: Tensor, row: SampleRow) -> set[int]:
    """The tokens that torch draws from `[1, vocab]`, for numbers near the row's."""
    found: set[int] = set()
    for nudge in (1 - 1e-6, 1.0, 1 + 1e-6):
        top_p = min(1.0, row.sampling.top_p * nudge) if row.sampling.top_p < 1 else 1.0
        sampling = replace(row.sampling, top_p=top_p)
        probabilities = truncated(values, [SampleRow(sampling, row.output_index)])[0]
        cumulative = probabilities.cumsum(dim=0)
        share = uniform(row.sampling.seed or 0, row.output_index)
        near = torch.tensor([max(share - NEAR, 0.0), min(share + NEAR, 1 - 2**-53)])
        first, last = torch.searchsorted(
            cumulative, near.double() * cumulative[-1], right=True
        ).tolist()
        between = probabilities[first : last + 1].nonzero().flatten() + first
        found |= set(between.tolist())
    return found


@on_every_instruction_set
@given(
    sampling=st.lists(requests, min_size=1, max_size=3),
    vocab=vocabs,
    kind=kinds,
    seed=st.integers(0, 99),
)
@settings(max_examples=25)
def test_tokens_are_torchs(
    instruction_set: InstructionSet,
    sampling: list[SamplingParams],
    vocab: int,
    kind: str,
    seed: int,
) -> None:
    values = logits(kind, len(sampling), vocab, seed)
    rows = [SampleRow(each, index) for index, each in enumerate(sampling)]
    drawn = sample(values, rows, scan_of(values), native(instruction_set))
    for token, row, row_values in zip(drawn, rows, values.unsqueeze(1), strict=True):
        assert token in acceptable(row_values, row)


def test_almost_all_tokens_are_the_very_same() -> None:
    values = logits("normal", 60, 3001)
    for top_k, top_p in ((0, 1.0), (50, 1.0), (0, 0.9), (50, 0.9), (2000, 0.99)):
        sampling = SamplingParams(max_tokens=1, top_k=top_k, top_p=top_p, seed=5)
        rows = [SampleRow(sampling, index) for index in range(len(values))]
        expected = sample(values, rows)
        for instruction_set in range(kernels().best + 1):
            drawn = sample(values, rows, sampler=native(InstructionSet(instruction_set)))
            same = [a == b for a, b in zip(drawn, expected, strict=True)]
            assert sum(same) >= len(values) - 1, (instruction_set, top_k, top_p)


@on_every_instruction_set
@given(rows=st.integers(0, 9), vocab=vocabs, kind=kinds, seed=st.integers(0, 99))
@settings(max_examples=15)
def test_the_largest_is_torchs(
    instruction_set: InstructionSet, rows: int, vocab: int, kind: str, seed: int
) -> None:
    # Rows of a wider tensor.
    values = logits(kind, rows, vocab + 5, seed)[:, :vocab]
    values[:, 0] = values[:, 0].nan_to_num(neginf=-9.0)
    assert native(instruction_set).scan(values) == TORCH_SAMPLER.scan(values)


@on_every_instruction_set
@given(vocab=vocabs, at=st.integers(0, 6000), bad=st.sampled_from(["nan", "inf", "-inf"]))
@settings(max_examples=15)
def test_one_bad_logit_is_found_wherever_it_is(
    instruction_set: InstructionSet, vocab: int, at: int, bad: str
) -> None:
    values = logits("normal", 3, vocab)
    values[1, at % vocab] = float(bad)
    scan = native(instruction_set).scan(values)
    assert scan.finite == [True, False, True]
    assert all(0 <= token < vocab for token in scan.largest)
    rows = [SampleRow(SamplingParams(max_tokens=1, top_k=2, seed=1), i) for i in range(3)]
    drawn = sample(values, rows, sampler=native(instruction_set))
    assert [token is None for token in drawn] == [False, True, False]


def test_draws_have_the_distribution_asked_for() -> None:
    """Pearson's chi-squared; the draws are the same in every run."""
    values, count = logits("normal", 1, 1000, seed=3), 20_000
    for sampling in (
        SamplingParams(max_tokens=1, temperature=0.3, seed=8),
        SamplingParams(max_tokens=1, top_k=20, top_p=0.9, temperature=1.5, seed=9),
    ):
        rows = [SampleRow(sampling, index) for index in range(count)]
        drawn = sample(values.expand(count, 1000), rows, sampler=native())
        share = truncated(values, rows[:1])[0]
        expected = share / share.sum() * count
        counts = torch.tensor(drawn).bincount(minlength=1000)
        assert counts[expected == 0].sum() == 0
        # Tokens of which fewer than ten are expected count as one.
        often = expected >= 10
        seen = torch.cat((counts[often], counts[~often].sum().view(1)))
        due = torch.cat((expected[often], expected[~often].sum().view(1)))
        degrees = int(often.sum())
        statistic = float(((seen - due) ** 2 / due.clamp(min=1e-9)).sum())
        # Five standard deviations of it.
        assert abs(statistic - degrees) < 5 * (2 * degrees) ** 0.5


def test_a_row_gets_what_it_gets_alone_with_any_number_of_threads() -> None:
    values = logits("normal", 40, 3000)
    rows = [
        SampleRow(SamplingParams(1, temperature=i % 3, top_k=i % 4 * 9, top_p=p, seed=i), i)
        for i, p in enumerate([1.0, 0.8] * 20)
    ]
    alone = [sample(values[i : i + 1], [row], sampler=native())[0] for i, row in enumerate(rows)]
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 7):
            torch.set_num_threads(count)
            assert sample(values, rows, sampler=native()) == alone
    finally:
        torch.set_num_threads(threads)


def test_only_what_fits_is_taken() -> None:
    sampler, values = native(), torch.zeros(2, 8)
    rows = [SampleRow(SamplingParams(max_tokens=1, temperature=0.0), 0)] * 2
    for wrong in (values.double(), values.t(), values.to("meta")):
        with pytest.raises(ValueError, match="logits must be float32 on cpu"):
            sampler.scan(wrong)
    with pytest.raises(ValueError, match="logits of 0 tokens"):
        sampler.scan(torch.zeros(2, 0))
    with pytest.raises(ValueError, match=r"row 1 of 2 .* temperature 0\.0 cannot"):
        sampler.draw(values, [1], rows, Scan([0, 0], [True, True]))
    with pytest.raises(ValueError, match="row 0 of 2 with the likeliest token 8 of 8"):
        sampler.draw(values, [0], rows, Scan([8, 0], [True, True]))
    assert sampler.draw(values, [], rows, Scan([0, 0], [True, True])) == []


def test_which_sampler_an_engine_gets() -> None:
    cpu = torch.device("cpu")
    assert choose_sampler(cpu, AttentionBackend.TORCH) is TORCH_SAMPLER
    assert choose_sampler(torch.device("meta"), AttentionBackend.AUTO) is TORCH_SAMPLER
    kernels()
    assert isinstance(choose_sampler(cpu, AttentionBackend.AUTO), NativeSampler)

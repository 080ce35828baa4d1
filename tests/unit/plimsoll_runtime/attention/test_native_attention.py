"""The C++ kernels against paged attention in torch, on every instruction set of this machine."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.metadata import SequenceSpan, build_metadata
from plimsoll_runtime.attention.native import (
    NativeAttention,
    PageFormat,
    page_format,
    why_not_native,
)
from plimsoll_runtime.attention.paged import Attention, PagedAttention
from plimsoll_runtime.kernels.library import InstructionSet
from tests.unit.plimsoll_runtime.attention.page_layouts import (
    scales_to_blocks,
    scales_to_rows,
    to_blocks,
    to_rows,
)
from tests.unit.plimsoll_runtime.built_kernels import kernels

CPU = torch.device("cpu")
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
# From a cache in int8 queries and weights are rounded to 16 bits.
INT8_TOLERANCE = {torch.float32: 5e-4, torch.bfloat16: 2e-2}
LAYER = 1


on_every_instruction_set = pytest.mark.parametrize(
    "instruction_set", list(InstructionSet), ids=lambda each: each.name
)


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


BLOCKED = (PageFormat.BLOCKED, PageFormat.INT8_BLOCKED)


def put_in_blocks(cache: KVCache) -> None:
    cache.pages.copy_(to_blocks(cache.pages))
    if cache.scales is not None:
        cache.scales.copy_(scales_to_blocks(cache.scales))


def put_in_rows(cache: KVCache) -> None:
    cache.pages.copy_(to_rows(cache.pages))
    if cache.scales is not None:
        cache.scales.copy_(scales_to_rows(cache.scales))


@dataclass(frozen=True)
class Case:
    sequences: tuple[tuple[int, int], ...]  # (start, new tokens)
    kv_heads: int = 2
    group: int = 3
    head_dim: int = 32
    block_size: int = 16
    dtype: torch.dtype = torch.float32
    int8: bool = False
    seed: int = 0


class Step:
    """Sequences with random keys and values behind them, in pages that else hold NaN."""

    def __init__(self, case: Case) -> None:
        rng, self.generator = random.Random(case.seed), torch.Generator().manual_seed(case.seed)
        needed = [-(-(start + new) // case.block_size) for start, new in case.sequences]
        blocks = list(range(sum(needed) + 2))
        rng.shuffle(blocks)
        shape = (2, 2, len(blocks) + 1, case.block_size, case.kv_heads, case.head_dim)
        self.case = case
        self.pages = torch.full(shape, torch.nan, dtype=case.dtype)
        self.scales: Tensor | None = None
        if case.int8:
            self.pages = torch.full(shape, 99, dtype=torch.int8)
            self.scales = torch.full(shape[:-1], torch.nan)
            self.scales[:, :, -1] = 0
        self.pages[:, :, -1] = 0
        self.num_blocks = len(blocks)
        tables = [[blocks.pop() for _ in range(count)] for count in needed]
        self.spans = [
            SequenceSpan(start, new, table)
            for (start, new), table in zip(case.sequences, tables, strict=True)
        ]
        past = [SequenceSpan(0, span.start, span.block_ids) for span in self.spans if span.start]
        slots = build_metadata(past, case.block_size, self.num_blocks, CPU).slot_mapping
        key, value = (self.random(len(slots), case.kv_heads) for _ in range(2))
        self.cache().store(LAYER, key, value, slots)
        tokens = sum(new for _, new in case.sequences)
        # As they come from one projection: rows of a wider tensor.
        heads = case.kv_heads * (case.group + 2)
        self.qkv = self.random(tokens, heads)

    def cache(self) -> KVCache:
        """Over the pages themselves."""
        return KVCache(self.pages, self.scales, self.case.dtype)

    def copy(self) -> KVCache:
        """Over pages of its own."""
        scales = None if self.scales is None else self.scales.clone()
        return KVCache(self.pages.clone(), scales, self.case.dtype)

    def random(self, tokens: int, heads: int) -> Tensor:
        shape = (tokens, heads, self.case.head_dim)
        return torch.randn(shape, generator=self.generator).to(self.case.dtype)

    def attend(
        self, chosen: InstructionSet | None, spans: list[int] | None = None
    ) -> tuple[Tensor, KVCache]:
        """What attention gives, in torch without an instruction set, and the cache after it.

        With `spans` only these sequences are in the step.
        """
        cache = self.copy()
        attention: Attention = PagedAttention(cache)
        blocked = False
        if chosen is not None:
            if chosen > kernels().best:
                pytest.skip(f"this processor has no {chosen.name}")
            blocked = page_format(cache) in BLOCKED
            if blocked:
                put_in_blocks(cache)
            attention = NativeAttention(cache, kernels(), chosen)
        kept = range(len(self.spans)) if spans is None else spans
        ends = torch.tensor([span.query_len for span in self.spans]).cumsum(0).tolist()
        rows = [r for i in kept for r in range(ends[i] - self.spans[i].query_len, ends[i])]
        qkv, kv = self.qkv[rows], self.case.kv_heads
        query, key, value = qkv.split((kv * self.case.group, kv, kv), dim=1)
        chosen_spans = [self.spans[i] for i in kept]
        attention.plan(build_metadata(chosen_spans, self.case.block_size, self.num_blocks, CPU))
        out = attention.forward(LAYER, query, key, value)
        if blocked:
            put_in_rows(cache)
        return out, cache


cases = st.builds(
    Case,
    sequences=st.lists(
        st.tuples(
            st.sampled_from([0, 0, 1, 15, 63, 64, 255, 256, 300]),
            st.sampled_from([1, 1, 1, 2, 5, 17, 70]),
        ),
        min_size=1,
        max_size=5,
    ).map(tuple),
    kv_heads=st.sampled_from([1, 2, 3]),
    group=st.sampled_from([1, 2, 3, 7, 70]),
    head_dim=st.sampled_from([2, 16, 20, 48, 64, 80, 128]),
    block_size=st.sampled_from([1, 4, 16, 32]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    int8=st.booleans(),
    seed=st.integers(0, 2**16),
)


@on_every_instruction_set
@given(case=cases, threads=st.sampled_from([1, 2, 3]))
@settings(max_examples=25)
def test_equal_to_torch_for_any_mix(
    instruction_set: InstructionSet, case: Case, threads: int
) -> None:
    torch.set_num_threads(threads)
    step = Step(case)
    expected, cache = step.attend(None)
    got, written = step.attend(instruction_set)
    tolerance = (INT8_TOLERANCE if case.int8 else TOLERANCE)[case.dtype]
    assert got.dtype == case.dtype
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)
    for mine, other in ((written.pages, cache.pages), (written.scales, cache.scales)):
        torch.testing.assert_close(mine, other, atol=0, rtol=0, equal_nan=True)


@on_every_instruction_set
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize(("int8", "block_size"), [(False, 16), (True, 16), (True, 8)])
def test_a_row_depends_on_nothing_beside_it(
    instruction_set: InstructionSet, dtype: torch.dtype, group: int, int8: bool, block_size: int
) -> None:
    """Bit for bit: alone or in a batch, in a chunk or as one token, however many threads."""
    sequences = ((0, 70), (700, 1), (300, 5), (0, 1), (250, 13))
    case = Case(sequences, group=group, block_size=block_size, dtype=dtype, int8=int8)
    step = Step(case)
    torch.set_num_threads(1)
    together, _ = step.attend(instruction_set)
    torch.set_num_threads(3)
    assert torch.equal(step.attend(instruction_set)[0], together)
    row = 0
    for i, (_, new) in enumerate(sequences):
        alone, cache = step.attend(instruction_set, [i])
        assert torch.equal(alone, together[row : row + new])
        if page_format(cache) in BLOCKED:
            put_in_blocks(cache)
        attention = NativeAttention(cache, kernels(), instruction_set)
        for j in (0, new // 2, new - 1):
            span = step.spans[i]._replace(start=step.spans[i].start + j, query_len=1)
            attention.plan(build_metadata([span], block_size, step.num_blocks, CPU))
            kv = case.kv_heads
            query, key, value = step.qkv[row + j : row + j + 1].split((kv * group, kv, kv), dim=1)
            assert torch.equal(attention.forward(LAYER, query, key, value)[0], together[row + j])
        row += new


@on_every_instruction_set
def test_large_scores_do_not_overflow(instruction_set: InstructionSet) -> None:
    step = Step(Case(((300, 4),)))
    step.qkv *= 1000
    got, _ = step.attend(instruction_set)
    expected, _ = step.attend(None)
    torch.testing.assert_close(got, expected)


@on_every_instruction_set
@pytest.mark.parametrize("block_size", [8, 16])
def test_int8_keeps_small_weights_and_values_beside_large_ones(
    instruction_set: InstructionSet, block_size: int
) -> None:
    """A first token that takes most of the attention, and one whose value is 100 times as large."""
    case = Case(((700, 3),), block_size=block_size, int8=True)
    step = Step(case)
    cache, table = step.cache(), step.spans[0].block_ids
    first, other = table[0] * block_size, table[64 // block_size] * block_size
    heads = step.qkv[:1, : case.kv_heads * case.group].unflatten(1, (case.kv_heads, case.group))
    slots = torch.tensor([first, other])
    key = torch.stack([heads[0].mean(1) * 5, torch.zeros(case.kv_heads, case.head_dim)])
    value = step.random(2, case.kv_heads) * torch.tensor([1, 100])[:, None, None]
    cache.store(LAYER, key, value, slots)
    got, _ = step.attend(instruction_set)
    expected, _ = step.attend(None)
    torch.testing.assert_close(got, expected, atol=5e-4, rtol=5e-4)


@on_every_instruction_set
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
@pytest.mark.parametrize("int8", [False, True])
def test_nan_reaches_whoever_sees_it_and_nobody_else(
    instruction_set: InstructionSet, dtype: torch.dtype, poison: float, int8: bool
) -> None:
    step = Step(Case(((40, 1), (40, 1)), dtype=dtype, int8=int8))
    step.qkv[1, -1] = poison  # a value of the second sequence
    for chosen in (instruction_set, None):
        got, _ = step.attend(chosen)
        assert got[0].isfinite().all()
        assert not got[1, -1].isfinite().any()


def test_a_step_of_no_tokens_is_empty() -> None:
    step = Step(Case(((3, 1),)))
    got, cache = step.attend(kernels().best, [])
    assert got.shape == (0, 6, 32)
    torch.testing.assert_close(cache.pages, step.pages, equal_nan=True)


def test_only_what_fits_is_taken() -> None:
    step = Step(Case(((5, 2),)))
    cache = KVCache(step.pages)
    attention = NativeAttention(cache, kernels())
    metadata = build_metadata(step.spans, 16, step.num_blocks, CPU)
    attention.plan(metadata)
    good, narrow = torch.zeros(2, 6, 32), torch.zeros(2, 2, 32)
    with pytest.raises(ValueError, match=r"query has shape \(2, 6, 16\), not \(2, 6, 32\)"):
        attention.forward(LAYER, torch.zeros(2, 6, 16), narrow, narrow)
    with pytest.raises(ValueError, match=r"key has shape \(3, 2, 32\), not \(2, 2, 32\)"):
        attention.forward(LAYER, good, torch.zeros(3, 2, 32), narrow)
    with pytest.raises(ValueError, match=r"value is torch\.bfloat16 on cpu"):
        attention.forward(LAYER, good, narrow, narrow.bfloat16())
    with pytest.raises(ValueError, match=r"value is torch\.float32 on meta"):
        attention.forward(LAYER, good, narrow, narrow.to("meta"))
    with pytest.raises(ValueError, match="heads of key do not lie one after the other"):
        attention.forward(LAYER, good, torch.zeros(2, 32, 2).transpose(1, 2), narrow)
    with pytest.raises(ValueError, match="5 query heads do not divide among 2 KV heads"):
        attention.forward(LAYER, torch.zeros(2, 5, 32), narrow, narrow)
    with pytest.raises(ValueError, match="layer 2 of 2"):
        attention.forward(2, good, narrow, narrow)
    with pytest.raises(ValueError, match=r"seq_lens must be contiguous torch.int32"):
        attention.plan(replace(metadata, seq_lens=metadata.seq_lens.long()))


def test_pages_are_blocked_where_blocks_and_heads_are_of_16s() -> None:
    def chosen(dtype: torch.dtype, block_size: int, head_dim: int) -> PageFormat:
        pages = torch.zeros(2, 1, 2, block_size, 1, head_dim, dtype=dtype)
        scales = torch.zeros(pages.shape[:-1]) if dtype is torch.int8 else None
        return page_format(KVCache(pages, scales, torch.float32 if scales is not None else dtype))

    for dtype in (torch.float32, torch.bfloat16):
        assert chosen(dtype, 32, 64) is PageFormat.BLOCKED
        assert chosen(dtype, 8, 64) is PageFormat.ROWS
        assert chosen(dtype, 16, 24) is PageFormat.ROWS
    assert chosen(torch.int8, 32, 64) is PageFormat.INT8_BLOCKED
    assert chosen(torch.int8, 8, 64) is PageFormat.INT8_ROWS
    assert chosen(torch.int8, 16, 24) is PageFormat.INT8_ROWS


def test_caches_beyond_the_kernels_are_refused() -> None:
    def cache(head_dim: int, dtype: torch.dtype, device: str = "cpu") -> KVCache:
        return KVCache(torch.zeros(2, 1, 2, 4, 1, head_dim, dtype=dtype, device=device))

    assert why_not_native(cache(256, torch.float32)) is None
    assert "258" in str(why_not_native(cache(258, torch.float32)))
    assert "odd" in str(why_not_native(cache(3, torch.float32)))
    assert "float16" in str(why_not_native(cache(8, torch.float16)))
    assert "meta" in str(why_not_native(cache(8, torch.float32, "meta")))
    with pytest.raises(ValueError, match="float16"):
        NativeAttention(cache(8, torch.float16), kernels())
    weak = replace(kernels(), best=InstructionSet.PORTABLE)
    with pytest.raises(ValueError, match="PORTABLE at most, not AVX2"):
        NativeAttention(cache(8, torch.float32), weak, InstructionSet.AVX2)

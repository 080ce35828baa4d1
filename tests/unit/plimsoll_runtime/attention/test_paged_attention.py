"""Paged attention against attention as the formula says it, without pages or fused calls."""

from dataclasses import dataclass

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.metadata import SequenceSpan, build_metadata
from plimsoll_runtime.attention.paged import PagedAttention

CPU = torch.device("cpu")
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2}


def dense(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The last `n` queries of one sequence, in fp64.

    `query` is `[n, heads, head_dim]`, `key` and `value` `[length, kv_heads, head_dim]`.
    """
    n, heads, head_dim = query.shape
    length, kv_heads, _ = key.shape
    key, value = (x.double().repeat_interleave(heads // kv_heads, dim=1) for x in (key, value))
    scores = torch.einsum("nhd,lhd->hnl", query.double(), key) / head_dim**0.5
    for i in range(n):
        scores[:, i, length - n + i + 1 :] = -torch.inf
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return torch.einsum("hnl,lhd->nhd", weights, value)


@dataclass(frozen=True)
class Case:
    kv_heads: int
    group: int
    head_dim: int
    block_size: int
    sequences: tuple[tuple[int, int], ...]  # (start, new tokens)
    dtype: torch.dtype
    seed: int

    @property
    def heads(self) -> int:
        return self.kv_heads * self.group


cases = st.builds(
    Case,
    kv_heads=st.sampled_from([1, 2, 3]),
    group=st.sampled_from([1, 2, 3]),
    head_dim=st.sampled_from([8, 16]),
    block_size=st.sampled_from([1, 4, 16]),
    sequences=st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from([1, 1, 1, 2, 5, 17])),
        min_size=1,
        max_size=6,
    ).map(tuple),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 2**16),
)


def empty_cache(case: Case, num_blocks: int, fill: float = float("nan")) -> KVCache:
    """Pages that hold rubbish, as they do after other requests; only the null block is clean."""
    shape = (2, 2, num_blocks + 1, case.block_size, case.kv_heads, case.head_dim)
    pages = torch.full(shape, fill, dtype=case.dtype)
    pages[:, :, -1] = 0.0
    return KVCache(pages)


@given(cases)
@settings(deadline=None)
def test_equal_to_dense_attention_for_any_mix_of_chunks_and_decodes(case: Case) -> None:
    generator = torch.Generator().manual_seed(case.seed)

    def random(tokens: int, heads: int) -> Tensor:
        return torch.randn(tokens, heads, case.head_dim, generator=generator).to(case.dtype)

    needed = [-(-(start + new) // case.block_size) for start, new in case.sequences]
    blocks = torch.randperm(sum(needed) + 2, generator=generator).tolist()
    cache = empty_cache(case, len(blocks))
    attention = PagedAttention(cache)
    spans, queries, keys, values, expected = [], [], [], [], []
    layer = 1
    for (start, new), count in zip(case.sequences, needed, strict=True):
        table = [blocks.pop() for _ in range(count)]
        spans.append(SequenceSpan(start, new, table))
        key, value = random(start + new, case.kv_heads), random(start + new, case.kv_heads)
        query = random(new, case.heads)
        expected.append(dense(query, key, value))
        if start:
            past = build_metadata(
                [SequenceSpan(0, start, table)], case.block_size, cache.num_blocks, CPU
            )
            cache.store(layer, key[:start], value[:start], past.slot_mapping)
        queries.append(query)
        keys.append(key[start:])
        values.append(value[start:])
    attention.plan(build_metadata(spans, case.block_size, cache.num_blocks, CPU))
    got = attention.forward(layer, torch.cat(queries), torch.cat(keys), torch.cat(values))
    assert got.dtype == case.dtype
    torch.testing.assert_close(
        got.double(), torch.cat(expected), atol=TOLERANCE[case.dtype], rtol=TOLERANCE[case.dtype]
    )
    assert cache.pages[:, 0, :-1].isnan().all(), "another layer was written"
    assert (cache.pages[:, :, -1] == 0).all(), "the null block was written"


def test_a_step_of_no_sequences_is_empty() -> None:
    case = Case(1, 1, 8, 4, (), torch.float32, 0)
    attention = PagedAttention(empty_cache(case, 2))
    attention.plan(build_metadata([], 4, 2, CPU))
    none = torch.empty(0, 1, 8)
    assert attention.forward(0, none, none, none).shape == (0, 1, 8)


def test_decodes_of_like_length_share_one_padded_call() -> None:
    case = Case(1, 1, 8, 4, (), torch.float32, 0)
    attention = PagedAttention(empty_cache(case, 100))
    lengths = [33, 64, 40, 3, 4, 1]
    spans = [SequenceSpan(length - 1, 1, range(16)) for length in lengths]
    attention.plan(build_metadata(spans, 4, 100, CPU))
    shapes = sorted(tuple(group.slots.shape) for group in attention._groups)
    assert shapes == [(1, 1), (2, 4), (3, 64)]

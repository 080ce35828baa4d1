"""Which steps get a graph, and of which batch size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.core.cuda_graphs import (
    LARGEST,
    SPACING,
    CudaGraphs,
    batch_sizes,
    graph_size,
    why_no_graphs,
)

CAPTURED = st.sets(st.integers(1, 40), max_size=6).map(lambda sizes: tuple(sorted(sizes)))


def test_sizes_of_small_batches_are_close() -> None:
    assert batch_sizes(1) == (1,)
    assert batch_sizes(6) == (1, 2, 4, 6)
    assert batch_sizes(64) == (1, 2, 4, 8, 16, 32, 48, 64)
    assert batch_sizes(50) == (1, 2, 4, 8, 16, 32, 48, 50)


@given(st.integers(1, 2000))
def test_every_batch_up_to_the_largest_has_a_size_not_much_above(max_num_seqs: int) -> None:
    sizes = batch_sizes(max_num_seqs)
    assert sizes[-1] == min(max_num_seqs, LARGEST)
    assert list(sizes) == sorted(set(sizes))
    for count in range(1, sizes[-1] + 1):
        size = graph_size([1] * count, sizes)
        assert size is not None
        assert count <= size < max(2 * count, count + SPACING)
    assert len(sizes) <= 5 + LARGEST // SPACING


@given(CAPTURED, st.integers(0, 50))
def test_the_smallest_that_holds_a_step(captured: tuple[int, ...], count: int) -> None:
    large_enough = [size for size in captured if size >= count]
    expected = min(large_enough) if large_enough and count else None
    assert graph_size([1] * count, captured) == expected


@given(CAPTURED, st.lists(st.integers(1, 3), min_size=1, max_size=50))
def test_only_steps_of_one_token_each_have_one(
    captured: tuple[int, ...], query_lens: list[int]
) -> None:
    found = graph_size(query_lens, captured)
    if set(query_lens) != {1}:
        assert found is None
    assert found is None or found >= len(query_lens)


@pytest.mark.parametrize(
    ("asked", "device", "backend", "ranks", "reason"),
    [
        (CudaGraphs.AUTO, "cuda", AttentionBackend.TRITON, 1, None),
        (CudaGraphs.OFF, "cuda", AttentionBackend.TRITON, 1, "off"),
        (CudaGraphs.AUTO, "cpu", AttentionBackend.AUTO, 1, "the device is cpu"),
        (CudaGraphs.AUTO, "cuda", AttentionBackend.AUTO, 1, "use the triton backend"),
        (CudaGraphs.AUTO, "cuda", AttentionBackend.TORCH, 1, "use the triton backend"),
        (CudaGraphs.AUTO, "cuda", AttentionBackend.TRITON, 2, "several ranks"),
    ],
)
def test_what_stands_against_them_is_said(
    asked: CudaGraphs, device: str, backend: AttentionBackend, ranks: int, reason: str | None
) -> None:
    found = why_no_graphs(asked, device, backend, ranks)
    assert found is None if reason is None else reason in (found or "")

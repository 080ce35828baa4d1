"""Which steps a CUDA graph computes, at which batch sizes, and what graphs may take."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from enum import StrEnum

from plimsoll_runtime.core.attention_backend import AttentionBackend

SPACING = 16
"""Rows that matrix units take at once: a step padded to a multiple takes as long as before."""
LARGEST = 512
"""Above it the products of a step take longer than launching them."""
GRAPH_BYTES_PER_LAYER = 2**23
"""What graphs of all batch sizes may take: a quarter GiB for 32 layers, as engines log."""
WORKSPACE_BYTES = 2**26
"""Of matrix products on the stream that captures; plans have them among other workspaces."""


class CudaGraphs(StrEnum):
    """`AUTO` captures decode steps where that can be, `OFF` launches every kernel by itself."""

    AUTO = "auto"
    OFF = "off"


def batch_sizes(max_num_seqs: int) -> tuple[int, ...]:
    """What is captured, ascending: powers of two below `SPACING`, its multiples, the largest."""
    last = min(max_num_seqs, LARGEST)
    small = [1 << power for power in range((SPACING - 1).bit_length())]
    sizes = [size for size in (*small, *range(SPACING, last, SPACING)) if size < last]
    return (*sizes, last)


def graph_size(query_lens: Iterable[int], captured: Sequence[int]) -> int | None:
    """The smallest of the batch sizes `captured`, ascending, that holds a step's sequences.

    None is for a step that is computed without a graph: one in which a sequence has several new
    tokens (a prompt, or drafts to check), one without sequences, and one with too many.
    """
    count = 0
    for query_len in query_lens:
        if query_len != 1:
            return None
        count += 1
    index = bisect_left(captured, count)
    return captured[index] if count and index < len(captured) else None


def graph_bytes(num_layers: int) -> int:
    """Memory that is kept free for the graphs of a model, their inputs and results."""
    return num_layers * GRAPH_BYTES_PER_LAYER


def why_no_graphs(
    asked: CudaGraphs, device: str, backend: AttentionBackend, num_ranks: int
) -> str | None:
    """What stands against graphs on a device (`cpu` or `cuda`), for people; None is nothing."""
    if asked is CudaGraphs.OFF:
        return "they are off"
    if device != "cuda":
        return f"the device is {device}"
    if num_ranks > 1:
        return "collectives of several ranks are not captured"
    if backend is not AttentionBackend.TRITON:
        return "attention in torch launches other kernels in every step; use the triton backend"
    return None

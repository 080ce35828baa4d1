"""The attention backend by the Triton kernel: one launch a layer for decodes, one for prompts."""

import torch
from torch import Tensor

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.metadata import AttentionMetadata
from plimsoll_runtime.attention.triton_kernel import paged_attention

FEW_ROWS, MANY_ROWS = 16, 64
"""Of a tile: what the matrix units take at least, and what reads a page for many."""
_LEAST_DIM = 16


def why_not_triton(cache: KVCache) -> str | None:
    """What about a cache is beyond the kernel; None when nothing is."""
    if cache.scales is not None:
        return "the kernel does not read a KV cache in int8"
    size = cache.block_size
    if size < _LEAST_DIM or size & (size - 1):
        return f"blocks of {size} tokens are no power of two from {_LEAST_DIM} on"
    return None


class TritonAttention:
    """See `Attention`. Sums in fp32; raises ValueError for a cache that it cannot use."""

    def __init__(self, cache: KVCache) -> None:
        if (reason := why_not_triton(cache)) is not None:
            raise ValueError(reason)
        self.cache = cache
        self._metadata: AttentionMetadata | None = None
        self._tiles: list[tuple[int, Tensor]] = []
        self._group = 0

    def plan(self, metadata: AttentionMetadata) -> None:
        """Notes the step; its tiles follow with the first layer, which knows the heads."""
        self._metadata = metadata
        self._group = 0

    def forward(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See `Attention.forward`. Heads of a token must lie one after the other."""
        metadata, pages = self._metadata, self.cache.pages
        if metadata is None:
            raise ValueError("a step must be planned before its layers")
        self.cache.store(layer, key, value, metadata.slot_mapping)
        _, heads, head_dim = query.shape
        kv_heads = key.shape[1]
        if self._group != heads // kv_heads:
            self._group = heads // kv_heads
            self._tiles = list(_tiles(metadata, self._group))
        if query.stride(2) != 1 or query.stride(1) != head_dim:
            query = query.contiguous()
        out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
        for rows, tiles in self._tiles:
            paged_attention[(len(tiles), kv_heads)](
                query,
                pages[0, layer],
                pages[1, layer],
                out,
                tiles,
                metadata.block_tables,
                metadata.seq_lens,
                metadata.query_start_loc,
                query.stride(0),
                out.stride(0),
                pages.stride(2),
                pages.stride(3),
                metadata.block_tables.stride(0),
                head_dim**-0.5,
                GROUP=self._group,
                HEAD_DIM=head_dim,
                PADDED_DIM=max(_LEAST_DIM, 1 << (head_dim - 1).bit_length()),
                BLOCK=self.cache.block_size,
                ROWS=rows,
            )
        return out


def _tiles(metadata: AttentionMetadata, group: int) -> list[tuple[int, Tensor]]:
    """Rows of a tile, with the sequences and first rows of those of that size."""
    found: dict[int, list[tuple[int, int]]] = {FEW_ROWS: [], MANY_ROWS: []}
    for sequence, span in enumerate(metadata.spans):
        count = span.query_len * group
        size = FEW_ROWS if count <= FEW_ROWS else MANY_ROWS
        found[size] += [(sequence, first) for first in range(0, count, size)]
    device = metadata.seq_lens.device
    return [
        (size, torch.tensor(tiles, dtype=torch.int32).to(device))
        for size, tiles in found.items()
        if tiles
    ]

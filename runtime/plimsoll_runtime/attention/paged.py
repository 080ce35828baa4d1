"""Attention over a paged KV cache: the interface, and the backend in plain torch.

A backend is told about a step once, with `plan`, and is then called for each layer. This one
gathers the pages and calls scaled_dot_product_attention. It is right everywhere and the measure
for faster ones.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.metadata import AttentionMetadata


class Attention(Protocol):
    """What a model calls."""

    def plan(self, metadata: AttentionMetadata) -> None:
        """Prepares for the sequences of a step."""

    def forward(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Stores the new keys and values of a layer, and attends to all up to each query's own.

        `query` is `[tokens, heads, head_dim]`, `key` and `value` `[tokens, kv_heads, head_dim]`;
        returns `[tokens, heads, head_dim]`. Query head h reads KV head h // (heads / kv_heads).
        """


@dataclass(frozen=True)
class _DecodeGroup:
    """Sequences with one new token each, in one padded call.

    `rows` `[B]` of the batch; `slots` `[B, L]` in the cache; `mask` `[B, 1, 1, L]` is true where
    a sequence is that long, None when all are.
    """

    rows: Tensor
    slots: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class _Chunk:
    """One sequence with several new tokens, the rows `first` to `last` of the batch.

    `slots` is `[1, L]`; `mask` `[n, L]`, or None when the chunk is the whole sequence so far.
    """

    first: int
    last: int
    slots: Tensor
    mask: Tensor | None


class PagedAttention:
    """The reference backend, for CPU and CUDA.

    All decodes of a step go through few padded calls, one for each power of two of their length,
    so that padding at most doubles the work. Chunks of prompts go one by one.
    """

    def __init__(self, cache: KVCache) -> None:
        self.cache = cache
        self._slot_mapping = torch.empty(0, dtype=torch.int64)
        self._decodes: list[_DecodeGroup] = []
        self._chunks: list[_Chunk] = []

    def plan(self, metadata: AttentionMetadata) -> None:
        """Works out, once a step, what every layer gathers and masks."""
        self._slot_mapping = metadata.slot_mapping
        self._chunks = []
        buckets: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        row = 0
        for index, span in enumerate(metadata.spans):
            length = span.start + span.query_len
            if span.query_len == 1:
                buckets[(length - 1).bit_length()].append((index, row, length))
            else:
                self._chunks.append(self._chunk(metadata, index, row, length))
            row += span.query_len
        self._decodes = [self._decode_group(metadata, members) for members in buckets.values()]

    def forward(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See `Attention.forward`."""
        self.cache.store(layer, key, value, self._slot_mapping)
        out = torch.empty_like(query)
        tokens, heads, head_dim = query.shape
        kv_heads = key.shape[1]
        for group in self._decodes:
            k, v = self.cache.load(layer, group.slots)
            # The query heads that share a KV head stand as its query positions: [B, kv, H/kv, D].
            shape = (group.rows.shape[0], kv_heads, heads // kv_heads, head_dim)
            q = query.index_select(0, group.rows).view(shape)
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=group.mask)
            if len(group.rows) == tokens:
                # All rows are in this group, in order.
                return attended.reshape(tokens, heads, head_dim)
            out.index_copy_(0, group.rows, attended.reshape(-1, heads, head_dim))
        for chunk in self._chunks:
            k, v = self.cache.load(layer, chunk.slots)
            q = query[chunk.first : chunk.last].transpose(0, 1).unsqueeze(0)  # [1, H, n, D]
            attended = F.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=chunk.mask,
                is_causal=chunk.mask is None,
                enable_gqa=heads != kv_heads,
            )
            out[chunk.first : chunk.last] = attended.squeeze(0).transpose(0, 1)
        return out

    def _slots(self, tables: Tensor, seq_lens: Tensor, length: int) -> Tensor:
        """The slots of positions 0 to `length` - 1, the null slot beyond a sequence's end.

        `tables` is `[B, blocks]`, `seq_lens` `[B, 1]`; returns `[B, length]`.
        """
        size = self.cache.block_size
        offsets = torch.arange(size, device=tables.device)
        blocks = tables[:, : -(-length // size)]
        slots = (blocks.unsqueeze(2) * size + offsets).flatten(1)[:, :length]
        positions = torch.arange(length, device=tables.device)
        return slots.masked_fill_(positions >= seq_lens, self.cache.null_slot)

    def _decode_group(
        self, metadata: AttentionMetadata, members: list[tuple[int, int, int]]
    ) -> _DecodeGroup:
        device = metadata.block_tables.device
        indices, rows, lengths = zip(*members, strict=True)
        longest = max(lengths)
        tables = metadata.block_tables.index_select(0, torch.tensor(indices, device=device))
        seq_lens = torch.tensor(lengths, device=device).unsqueeze(1)
        slots = self._slots(tables, seq_lens, longest)
        mask = None
        if min(lengths) < longest:
            mask = (torch.arange(longest, device=device) < seq_lens)[:, None, None, :]
        return _DecodeGroup(torch.tensor(rows, device=device), slots, mask)

    def _chunk(self, metadata: AttentionMetadata, index: int, row: int, length: int) -> _Chunk:
        span = metadata.spans[index]
        device = metadata.block_tables.device
        seq_len = torch.tensor([[length]], device=device)
        slots = self._slots(metadata.block_tables[index : index + 1], seq_len, length)
        mask = None
        if span.start > 0:
            queries = torch.arange(span.start, length, device=device).unsqueeze(1)
            mask = torch.arange(length, device=device) <= queries
        return _Chunk(row, row + span.query_len, slots, mask)

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


MAX_GROUPED_TOKENS = 16
"""New tokens of a sequence that goes into a call with others: one, or one and its drafts."""


@dataclass(frozen=True)
class _Group:
    """Sequences with n new tokens each, in one padded call.

    `rows` `[B * n]` of the batch; `slots` `[B, L]` in the cache; `mask` `[B, 1, n, L]` is true for
    what each token sees, None when it is all of it.
    """

    num_sequences: int
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

    Sequences with equally many new tokens, and few of them, go through few padded calls, one for
    each power of two of their length, so that padding at most doubles the work. Chunks of prompts
    go one by one.
    """

    def __init__(self, cache: KVCache) -> None:
        self.cache = cache
        self._slot_mapping = torch.empty(0, dtype=torch.int64)
        self._groups: list[_Group] = []
        self._chunks: list[_Chunk] = []

    def plan(self, metadata: AttentionMetadata) -> None:
        """Works out, once a step, what every layer gathers and masks."""
        self._slot_mapping = metadata.slot_mapping
        self._chunks = []
        buckets: dict[tuple[int, int], list[tuple[int, int, int]]] = defaultdict(list)
        row = 0
        for index, span in enumerate(metadata.spans):
            length = span.start + span.query_len
            if span.query_len == 1 or (span.start and span.query_len <= MAX_GROUPED_TOKENS):
                bucket = span.query_len, (length - 1).bit_length()
                buckets[bucket].append((index, row, length))
            else:
                self._chunks.append(self._chunk(metadata, index, row, length))
            row += span.query_len
        self._groups = [
            self._group(metadata, query_len, members) for (query_len, _), members in buckets.items()
        ]

    def forward(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See `Attention.forward`."""
        self.cache.store(layer, key, value, self._slot_mapping)
        out = torch.empty_like(query)
        tokens, heads, head_dim = query.shape
        kv_heads = key.shape[1]
        for group in self._groups:
            k, v = self.cache.load(layer, group.slots)
            # The query heads that share a KV head stand as its query positions: [B, kv, n H/kv, D].
            n, shared = len(group.rows) // group.num_sequences, heads // kv_heads
            q = query.index_select(0, group.rows).view(-1, n, kv_heads, shared, head_dim)
            q = q.permute(0, 2, 3, 1, 4).reshape(-1, kv_heads, shared * n, head_dim)
            mask = group.mask
            if mask is not None and n > 1:
                mask = mask.repeat(1, 1, shared, 1)
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            attended = attended.view(-1, kv_heads, shared, n, head_dim).permute(0, 3, 1, 2, 4)
            attended = attended.reshape(-1, heads, head_dim)
            if len(group.rows) == tokens:
                # All rows are in this group, in order.
                return attended
            out.index_copy_(0, group.rows, attended)
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

    def _group(
        self, metadata: AttentionMetadata, query_len: int, members: list[tuple[int, int, int]]
    ) -> _Group:
        device = metadata.block_tables.device
        indices, first_rows, lengths = zip(*members, strict=True)
        longest = max(lengths)
        tables = metadata.block_tables.index_select(0, torch.tensor(indices, device=device))
        seq_lens = torch.tensor(lengths, device=device).unsqueeze(1)
        slots = self._slots(tables, seq_lens, longest)
        mask = None
        if query_len > 1 or min(lengths) < longest:
            # How much of the sequence each of its new tokens sees: [B, n].
            seen = seq_lens - torch.arange(query_len - 1, -1, -1, device=device)
            mask = (torch.arange(longest, device=device) < seen.unsqueeze(2)).unsqueeze(1)
        rows = [row for first in first_rows for row in range(first, first + query_len)]
        return _Group(len(members), torch.tensor(rows, device=device), slots, mask)

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

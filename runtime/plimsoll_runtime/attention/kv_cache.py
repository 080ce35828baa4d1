"""The KV cache: one tensor of pages that all sequences share."""

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

from plimsoll_runtime.attention.int8 import dequantize, quantize
from plimsoll_runtime.core.kv_cache_dtype import SCALE_BYTES, KVCacheDtype
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.kernels.lent_pages import lend, pieces, zeros


def bytes_per_block(
    config: ModelConfig,
    block_size: int,
    dtype: torch.dtype,
    kv_cache_dtype: KVCacheDtype = KVCacheDtype.AUTO,
) -> int:
    """Memory of one block over all layers: 2 · layers · block_size · kv_heads · bytes of a head.

    The 2 is for keys and values. A head is head_dim numbers of `dtype`, or in int8 with a scale.
    """
    head = config.head_dim * dtype.itemsize
    if kv_cache_dtype is KVCacheDtype.INT8:
        head = config.head_dim + SCALE_BYTES
    return 2 * config.num_layers * block_size * config.num_kv_heads * head


class KVCache:
    """Keys and values, `[2, layers, num_blocks + 1, block_size, kv_heads, head_dim]`.

    Pages in int8 have fp32 `scales` `[2, layers, num_blocks + 1, block_size, kv_heads]`. `dtype` is
    what keys and values come in and go out as: without scales the pages' own.

    The last block is the null block: zeros that belong to nobody. Padding reads from it, so what
    one request left behind, even NaN, never reaches another. Only where a CUDA graph is padded with
    whole sequences these write to it; the backends of graphs read it for such sequences alone.
    """

    def __init__(
        self, pages: Tensor, scales: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> None:
        self.pages = pages
        self.scales = scales
        self.dtype = pages.dtype if dtype is None else dtype
        self.num_blocks = pages.shape[2] - 1
        self.block_size = pages.shape[3]
        self.null_slot = self.num_blocks * self.block_size
        # A slot is one token's place: [2, layers, slots, kv_heads * head_dim].
        self._slots = pages.flatten(2, 3).flatten(3, 4)
        self._scale_slots = None if scales is None else scales.flatten(2, 3)

    @classmethod
    def allocate(  # noqa: PLR0913, PLR0917 - a cache's shape
        cls,
        config: ModelConfig,
        num_blocks: int,
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
        kv_cache_dtype: KVCacheDtype = KVCacheDtype.AUTO,
    ) -> Self:
        """`num_blocks` blocks and the null block.

        On CPU the system lends their memory when they are written to, or `take_memory` is called.
        """
        shape = (2, config.num_layers, num_blocks + 1, block_size, config.num_kv_heads)
        pages = (*shape, config.head_dim)
        if kv_cache_dtype is KVCacheDtype.INT8:
            scales = _zeros(shape, torch.float32, device)
            return cls(_zeros(pages, torch.int8, device), scales, dtype)
        return cls(_zeros(pages, dtype, device))

    @property
    def nbytes(self) -> int:
        """Memory of all blocks, the null block too."""
        return self.pages.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def take_memory(self) -> Iterator[None]:
        """Has the system lend the memory, a piece with each step and that of the lowest blocks
        first. What the blocks hold stays, so that it may be done while they are used.

        Nothing is left to do on other devices than CPUs, and where the system knows no such call.
        Raises MemoryError.
        """
        if self.pages.device.type != "cpu":
            return
        rows = 2 * self.pages.shape[1]
        for memory in (self.pages, self.scales):
            for address, size in () if memory is None else pieces(memory, rows):
                if not lend(address, size):
                    return
                yield

    def store(self, layer: int, key: Tensor, value: Tensor, slots: Tensor) -> None:
        """Writes the keys and values `[tokens, kv_heads, head_dim]` of a layer to `slots`."""
        for which, rows in enumerate((key, value)):
            if self._scale_slots is None:
                self._slots[which, layer].index_copy_(0, slots, rows.flatten(1))
            else:
                numbers, scales = quantize(rows)
                self._slots[which, layer].index_copy_(0, slots, numbers.flatten(1))
                self._scale_slots[which, layer].index_copy_(0, slots, scales)

    def load(self, layer: int, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values at `slots` `[sequences, length]`.

        Each is `[sequences, kv_heads, length, head_dim]`.
        """
        flat = slots.flatten()
        key, value = (self._load(which, layer, flat) for which in (0, 1))
        shape = (*slots.shape, *self.pages.shape[4:])
        return key.view(shape).transpose(1, 2), value.view(shape).transpose(1, 2)

    def _load(self, which: int, layer: int, slots: Tensor) -> Tensor:
        # index_select of whole rows is ten times as fast on CPU as indexing with a tensor.
        rows = self._slots[which, layer].index_select(0, slots)
        if self._scale_slots is None:
            return rows
        scales = self._scale_slots[which, layer].index_select(0, slots)
        return dequantize(rows.view(*scales.shape, -1), scales, self.dtype)


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type == "cpu":
        return zeros(shape, dtype)
    return torch.zeros(shape, dtype=dtype, device=device)

"""The KV cache: one tensor of pages that all sequences share."""

from typing import Self

import torch
from torch import Tensor

from plimsoll_runtime.core.model_config import ModelConfig


def bytes_per_block(config: ModelConfig, block_size: int, dtype: torch.dtype) -> int:
    """Memory of one block over all layers: 2 · layers · block_size · kv_heads · head_dim · bytes.

    The 2 is for keys and values.
    """
    per_token = 2 * config.num_layers * config.num_kv_heads * config.head_dim
    return per_token * block_size * dtype.itemsize


class KVCache:
    """Keys and values, `[2, layers, num_blocks + 1, block_size, kv_heads, head_dim]`.

    The last block is the null block: zeros that belong to nobody. Padding reads from it, so what
    one request left behind, even NaN, never reaches another.
    """

    def __init__(self, pages: Tensor) -> None:
        self.pages = pages
        self.num_blocks = pages.shape[2] - 1
        self.block_size = pages.shape[3]
        self.null_slot = self.num_blocks * self.block_size
        # A slot is one token's place: [2, layers, slots, kv_heads * head_dim].
        self._slots = pages.flatten(2, 3).flatten(3, 4)

    @classmethod
    def allocate(
        cls,
        config: ModelConfig,
        num_blocks: int,
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> Self:
        """Takes the memory of `num_blocks` blocks and the null block.

        On CPU too it is taken now: an engine for which there is not enough ends at its start, and
        not when the cache fills under load.
        """
        heads = (config.num_kv_heads, config.head_dim)
        shape = (2, config.num_layers, num_blocks + 1, block_size, *heads)
        # Written to: on CPU the kernel lends pages only then.
        return cls(torch.zeros(shape, dtype=dtype, device=device))

    def store(self, layer: int, key: Tensor, value: Tensor, slots: Tensor) -> None:
        """Writes the keys and values `[tokens, kv_heads, head_dim]` of a layer to `slots`."""
        self._slots[0, layer].index_copy_(0, slots, key.flatten(1))
        self._slots[1, layer].index_copy_(0, slots, value.flatten(1))

    def load(self, layer: int, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values at `slots` `[sequences, length]`.

        Each is `[sequences, kv_heads, length, head_dim]`.
        """
        shape = (*slots.shape, *self.pages.shape[4:])
        # index_select of whole rows is ten times as fast on CPU as indexing with a tensor.
        flat = slots.flatten()
        key = self._slots[0, layer].index_select(0, flat).view(shape)
        value = self._slots[1, layer].index_select(0, flat).view(shape)
        return key.transpose(1, 2), value.transpose(1, 2)

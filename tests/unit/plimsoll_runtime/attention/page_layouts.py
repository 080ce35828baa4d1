"""What blocked pages are, in torch: rows of 16 tokens turned around, and back."""

import torch
from torch import Tensor

from plimsoll_runtime.attention.native import BLOCK_TOKENS

WORD_BYTES = 4


def to_blocks(pages: Tensor) -> Tensor:
    """Pages of rows, as the kernels keep them.

    `[2, layers, blocks, block_size, kv_heads, head_dim]`, and of this shape before and after.
    """
    pack = WORD_BYTES // pages.itemsize
    keys, values = pages.unflatten(3, (-1, BLOCK_TOKENS))
    # Now [layers, blocks, 16s, 16, kv_heads, head_dim].
    keys = keys.unflatten(-1, (-1, pack)).permute(0, 1, 2, 4, 5, 3, 6)
    values = values.unflatten(3, (-1, pack)).permute(0, 1, 2, 5, 3, 6, 4)
    return torch.stack([keys.reshape(pages.shape[1:]), values.reshape(pages.shape[1:])])


def to_rows(pages: Tensor) -> Tensor:
    """The other way round."""
    pack = WORD_BYTES // pages.itemsize
    shape = pages.shape
    layers, blocks, block_size, heads, dims = shape[1:]
    whole = (layers, blocks, block_size // BLOCK_TOKENS, heads)
    keys, values = pages
    keys = keys.reshape(*whole, dims // pack, BLOCK_TOKENS, pack).permute(0, 1, 2, 5, 3, 4, 6)
    values = values.reshape(*whole, BLOCK_TOKENS // pack, dims, pack).permute(0, 1, 2, 4, 6, 3, 5)
    return torch.stack([keys.reshape(shape[1:]), values.reshape(shape[1:])])


def scales_to_blocks(scales: Tensor) -> Tensor:
    """The scales of these pages, `[2, layers, blocks, block_size, kv_heads]` before and after."""
    return scales.unflatten(3, (-1, BLOCK_TOKENS)).transpose(4, 5).reshape(scales.shape).clone()


def scales_to_rows(scales: Tensor) -> Tensor:
    """The other way round."""
    *outer, block_size, heads = scales.shape
    whole = (*outer, block_size // BLOCK_TOKENS, heads, BLOCK_TOKENS)
    return scales.reshape(whole).transpose(4, 5).reshape(scales.shape).clone()

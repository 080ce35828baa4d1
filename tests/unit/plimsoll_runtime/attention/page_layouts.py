"""What `BLOCKED` pages are, in torch: rows of 16 tokens turned around, and back."""

import torch
from torch import Tensor

from plimsoll_runtime.attention.native import BLOCK_TOKENS


def to_blocks(pages: Tensor) -> Tensor:
    """Pages of rows, as the kernels keep them.

    `[2, layers, blocks, block_size, kv_heads, head_dim]`, and of this shape before and after.
    """
    keys, values = pages.unflatten(3, (-1, BLOCK_TOKENS))
    # Now [layers, blocks, 16s, 16, kv_heads, head_dim].
    if pages.dtype == torch.bfloat16:
        keys = keys.unflatten(-1, (-1, 2)).permute(0, 1, 2, 4, 5, 3, 6)
        values = values.unflatten(3, (-1, 2)).permute(0, 1, 2, 5, 3, 6, 4)
    else:
        keys = keys.permute(0, 1, 2, 4, 5, 3)
        values = values.permute(0, 1, 2, 4, 3, 5)
    return torch.stack([keys.reshape(pages.shape[1:]), values.reshape(pages.shape[1:])])


def to_rows(pages: Tensor) -> Tensor:
    """The other way round."""
    shape = pages.shape
    layers, blocks, block_size, heads, dims = shape[1:]
    whole = (layers, blocks, block_size // BLOCK_TOKENS, heads)
    keys, values = pages
    if pages.dtype == torch.bfloat16:
        keys = keys.reshape(*whole, dims // 2, BLOCK_TOKENS, 2).permute(0, 1, 2, 5, 3, 4, 6)
        values = values.reshape(*whole, BLOCK_TOKENS // 2, dims, 2).permute(0, 1, 2, 4, 6, 3, 5)
    else:
        keys = keys.reshape(*whole, dims, BLOCK_TOKENS).permute(0, 1, 2, 5, 3, 4)
        values = values.reshape(*whole, BLOCK_TOKENS, dims).permute(0, 1, 2, 4, 3, 5)
    return torch.stack([keys.reshape(shape[1:]), values.reshape(shape[1:])])

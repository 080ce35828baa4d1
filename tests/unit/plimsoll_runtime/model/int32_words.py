"""Writes int8 weights as compressed-tensors packs them, for tests."""

import torch
from torch import Tensor


def pack(numbers: Tensor, filling: int = 0) -> Tensor:
    """int8 `[outputs, inputs]` as int32 `[outputs, words]`, by arithmetic: the engine looks at
    bytes. `filling` is in what is left of the last word."""
    outputs, inputs = numbers.shape
    words = torch.zeros(outputs, -(-inputs // 4), dtype=torch.int64)
    for i in range(4 * words.shape[1]):
        number = numbers[:, i].long() + 128 if i < inputs else filling
        words[:, i // 4] += number << 8 * (i % 4)
    return (words - (words >= 1 << 31).long() * (1 << 32)).to(torch.int32)

"""Symmetric int8 with a scale for each row of numbers, as runtime/csrc/kv_store.cpp has it."""

import torch
from torch import Tensor

MAX_INT8 = 127
# The smallest normal number, so that no quotient overflows.
MIN_SCALE = torch.finfo(torch.float32).tiny


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """`x` `[..., n]` as int8 of the same shape and fp32 scales `[...]`: largest magnitude / 127.

    NaN and infinity make a scale of theirs, so that whoever reads the row meets them.
    """
    x = x.float()
    scales = (x.abs().amax(-1) / MAX_INT8).clamp_min(MIN_SCALE)
    quotients = (x / scales.unsqueeze(-1)).round_()
    return quotients.nan_to_num_(0.0).to(torch.int8), scales


def dequantize(x: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """Int8 `[..., n]` times its scales `[...]`, rounded once to `dtype`."""
    return (x.float() * scales.unsqueeze(-1)).to(dtype)

"""Weights in int8, with a scale for each output, in torch: what the kernels must compute.

Two products: with rows quantized as they come (W8A8), y = scale of x's row * scale of the output *
sum of products of int8 numbers, which is exact; weight-only, y = scale * sum of products of x with
int8 numbers, in fp32.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from plimsoll_runtime.model.matrix import Matrix

MAX_INT8 = 127
MIN_SCALE = torch.finfo(torch.float32).tiny
"""The smallest normal number, so that no quotient overflows."""
MAX_INPUTS = 65536
"""255 * 128 times as many is the largest sum that an int32 holds."""
ROWS_AT_ONCE = 1024
"""Of a weight that is quantized, to hold no copy of all of it in fp32."""


class Int8Weight(NamedTuple):
    """`numbers` `[outputs, inputs]` int8, and `scales` `[outputs]` fp32: what 1 stands for."""

    numbers: Tensor
    scales: Tensor


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """`x` `[rows, n]` as int8 of the same shape and fp32 scales `[rows]`: largest magnitude / 127.

    NaN and infinity make a scale of theirs, so that whoever reads the row meets them.
    """
    x = x.float()
    largest = x.abs().amax(-1) if x.shape[-1] else x.new_zeros(x.shape[:-1])
    scales = (largest / MAX_INT8).clamp_min(MIN_SCALE)
    quotients = (x / scales.unsqueeze(-1)).round_()
    return quotients.nan_to_num_(0.0).to(torch.int8), scales


def quantize_weight(weight: Tensor) -> Int8Weight:
    """A weight `[outputs, inputs]`, each output by itself."""
    numbers = torch.empty(weight.shape, dtype=torch.int8)
    scales = torch.empty(len(weight))
    for start in range(0, len(weight), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        numbers[part], scales[part] = quantize(weight[part])
    return Int8Weight(numbers, scales)


def why_not_int8(weight: Tensor) -> str | None:
    """What about a weight is beyond int8; None when nothing is."""
    if weight.device.type != "cpu":
        return f"the weight is on {weight.device.type}, and int8 is for CPU"
    if weight.shape[1] > MAX_INPUTS:
        return f"{weight.shape[1]} inputs are more than an int32 can sum up: at most {MAX_INPUTS}"
    return None


class QuantizedMatrix(Matrix):
    """An int8 weight; `dtype` is of x, of bias and of what comes out."""

    dtype: torch.dtype
    weight_only: bool

    def int8(self) -> Int8Weight:
        """The weight."""
        raise NotImplementedError

    def weight(self) -> Tensor:
        """See `Matrix`; a copy."""
        numbers, scales = self.int8()
        return (numbers * scales.unsqueeze(1)).to(self.dtype)


class TorchInt8Matrix(QuantizedMatrix):
    """An int8 weight as it is in checkpoints, and the way without kernels."""

    def __init__(self, weight: Int8Weight, dtype: torch.dtype, *, weight_only: bool) -> None:
        super().__init__()
        self.outputs, self.inputs = weight.numbers.shape
        self.dtype = dtype
        self.weight_only = weight_only
        self.numbers = nn.Parameter(weight.numbers, requires_grad=False)
        self.scales = nn.Parameter(weight.scales, requires_grad=False)

    def multiply(
        self, x: Tensor, bias: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """See `Matrix`."""
        if self.weight_only:
            out = (x.float() @ self.numbers.float().T) * self.scales
        else:
            numbers, scales = quantize(x)
            # Sums below 2^53 are exact in fp64, and torch has no int32 product on all machines.
            sums = (numbers.double() @ self.numbers.double().T).float()
            out = sums * (scales.unsqueeze(1) * self.scales)
        return (out if bias is None else out + bias.float()).to(dtype or self.dtype)

    def rows(self, indices: Tensor) -> Tensor:
        """See `Matrix`."""
        numbers = F.embedding(indices, self.numbers)
        return (numbers * self.scales[indices].unsqueeze(1)).to(self.dtype)

    def int8(self) -> Int8Weight:
        """See `QuantizedMatrix`; not a copy."""
        return Int8Weight(self.numbers, self.scales)

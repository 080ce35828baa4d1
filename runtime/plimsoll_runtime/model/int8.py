"""Weights in int8, with a scale for each output, and rows quantized as they come (W8A8).

What a product is: y = scale of x's row * scale of the output * (sum of products of int8 numbers,
which is exact), rounded to the output's type, plus bias.
"""

import ctypes
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from plimsoll_runtime.kernels.library import InstructionSet, Kernels
from plimsoll_runtime.model.matrix import FORMATS, PANEL, WORD_BYTES, Matrix, PackedWeight

INT8_FORMAT = 2
"""`kInt8` in runtime/csrc/product.h."""
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


class TorchInt8Matrix(Matrix):
    """An int8 weight in torch: what the kernels must compute, and the way without them.

    `dtype` is of x, of bias and of what comes out.
    """

    def __init__(self, weight: Int8Weight, dtype: torch.dtype) -> None:
        super().__init__()
        self.outputs, self.inputs = weight.numbers.shape
        self.dtype = dtype
        self.numbers = nn.Parameter(weight.numbers, requires_grad=False)
        self.scales = nn.Parameter(weight.scales, requires_grad=False)

    def multiply(
        self, x: Tensor, bias: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """See `Matrix`."""
        numbers, scales = quantize(x)
        # All sums below 2^53 are exact in fp64, and torch has no int32 product on all machines.
        sums = (numbers.double() @ self.numbers.double().T).float()
        out = sums * (scales.unsqueeze(1) * self.scales)
        return (out if bias is None else out + bias.float()).to(dtype or self.dtype)

    def rows(self, indices: Tensor) -> Tensor:
        """See `Matrix`."""
        numbers = F.embedding(indices, self.numbers)
        return (numbers * self.scales[indices].unsqueeze(1)).to(self.dtype)

    def weight(self) -> Tensor:
        """See `Matrix`; a copy."""
        return (self.numbers * self.scales.unsqueeze(1)).to(self.dtype)


class Int8Matrix(Matrix):
    """An int8 weight in panels, for the C++ kernels; see `PackedMatrix` and `TorchInt8Matrix`."""

    def __init__(
        self,
        weight: Int8Weight,
        dtype: torch.dtype,
        kernels: Kernels,
        instruction_set: InstructionSet,
    ) -> None:
        super().__init__()
        self.outputs, self.inputs = weight.numbers.shape
        self.dtype = dtype
        self._kernels = kernels
        self._words = -(-self.inputs // WORD_BYTES)
        panels = -(-self.outputs // PANEL)
        # The last word of a row, and the last panel, are filled up with zeros.
        rows = F.pad(weight.numbers, (0, self._words * WORD_BYTES - self.inputs)).contiguous()
        filling = (0, panels * PANEL - self.outputs)
        packed = torch.empty((panels, self._words, PANEL), dtype=torch.int32)
        kernels.pack(
            packed.data_ptr(),
            rows.data_ptr(),
            self._words,
            self.outputs,
            self._words,
            torch.get_num_threads(),
        )
        self.panels = nn.Parameter(packed, requires_grad=False)
        self.scales = nn.Parameter(F.pad(weight.scales, filling), requires_grad=False)
        totals = F.pad(weight.numbers.sum(1, dtype=torch.int32), filling)
        self.totals = nn.Parameter(totals, requires_grad=False)
        self._packed = PackedWeight(
            panels=self.panels.data_ptr(),
            words=self._words,
            outputs=self.outputs,
            scales=self.scales.data_ptr(),
            totals=self.totals.data_ptr(),
            format=INT8_FORMAT,
            instruction_set=instruction_set,
        )
        self.address = ctypes.addressof(self._packed)

    def multiply(
        self, x: Tensor, bias: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """See `Matrix`. Raises ValueError for tensors that do not fit the weight."""
        rows, inputs = x.shape
        if inputs != self.inputs or x.dtype not in FORMATS or x.device.type != "cpu":
            raise ValueError(
                f"x is {x.dtype} {tuple(x.shape)} on {x.device.type}, and the weight wants "
                f"{self.inputs} columns of float32 or bfloat16 on cpu"
            )
        if x.stride(1) != 1:
            x = x.contiguous()
        out = torch.empty((rows, self.outputs), dtype=dtype or self.dtype)
        if bias is not None and (bias.shape != (self.outputs,) or bias.dtype != out.dtype):
            raise ValueError(f"the bias is {bias.dtype} {tuple(bias.shape)}")
        numbers = torch.empty((rows, self._words), dtype=torch.int32)
        scales = torch.empty(rows)
        self._kernels.multiply_int8(
            self.address,
            x.data_ptr(),
            x.stride(0),
            x.dtype == torch.bfloat16,
            rows,
            inputs,
            numbers.data_ptr(),
            scales.data_ptr(),
            None if bias is None else bias.data_ptr(),
            out.data_ptr(),
            self.outputs,
            out.dtype == torch.bfloat16,
            torch.get_num_threads(),
        )
        return out

    def rows(self, indices: Tensor) -> Tensor:
        """See `Matrix`. Raises IndexError for an output that is not there."""
        indices = indices.contiguous()
        if len(indices):
            low, high = indices.aminmax()
            if int(low) < 0 or int(high) >= self.outputs:
                raise IndexError(f"rows {int(low)} to {int(high)} of {self.outputs}")
        words = torch.empty((len(indices), self._words), dtype=torch.int32)
        self._kernels.unpack(
            words.data_ptr(),
            self.panels.data_ptr(),
            indices.data_ptr(),
            len(indices),
            self._words,
            torch.get_num_threads(),
        )
        numbers = words.view(torch.int8)[:, : self.inputs]
        return (numbers * self.scales[indices].unsqueeze(1)).to(self.dtype)

    def weight(self) -> Tensor:
        """See `Matrix`; a copy."""
        return self.rows(torch.arange(self.outputs))

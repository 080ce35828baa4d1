"""Int8 weights in panels, for the C++ kernels: see runtime/csrc/product.h and model/int8.py."""

import ctypes

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from plimsoll_runtime.kernels.library import InstructionSet, Kernels
from plimsoll_runtime.model.int8 import Int8Weight, QuantizedMatrix
from plimsoll_runtime.model.matrix import (
    FORMATS,
    PANEL,
    WORD_BYTES,
    PackedWeight,
    check_indices,
    multiply_words,
    output_for,
)

INT8_FORMAT = 2
"""`kInt8` in runtime/csrc/product.h."""
WIDENED_FORMATS = {torch.bfloat16: 3, torch.float32: 4}
"""`kBf16ByInt8` and `kFp32ByInt8` there."""


class _Panels(QuantizedMatrix):
    """`pack` is how many numbers are in a word that is multiplied with, `words` as many as a row
    takes."""

    def __init__(  # noqa: PLR0913 - the last by name
        self,
        weight: Int8Weight,
        dtype: torch.dtype,
        kernels: Kernels,
        instruction_set: InstructionSet,
        *,
        number_format: int,
        pack: int,
        totals: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.outputs, self.inputs = weight.numbers.shape
        self.made_for = (kernels, instruction_set)
        self.dtype = dtype
        self._kernels = kernels
        self._pack = pack
        self._words = -(-self.inputs // pack)
        # The last word of a row, and the last panel, are filled up with zeros.
        filling = -self.outputs % PANEL
        rows = F.pad(weight.numbers, (0, self._words * pack - self.inputs, 0, filling))
        panels = rows.view(-1, PANEL, self._words, pack).transpose(1, 2).contiguous()
        self.panels = nn.Parameter(panels, requires_grad=False)  # [panels, words, PANEL, pack]
        self.scales = nn.Parameter(F.pad(weight.scales, (0, filling)), requires_grad=False)
        self.totals = None
        if totals is not None:
            self.totals = nn.Parameter(F.pad(totals, (0, filling)), requires_grad=False)
        self._packed = PackedWeight(
            panels=self.panels.data_ptr(),
            words=self._words,
            outputs=self.outputs,
            scales=self.scales.data_ptr(),
            totals=None if self.totals is None else self.totals.data_ptr(),
            format=number_format,
            instruction_set=instruction_set,
        )
        self.address = ctypes.addressof(self._packed)

    def rows(self, indices: Tensor) -> Tensor:
        """See `Matrix`. Raises IndexError for an output that is not there."""
        check_indices(indices, self.outputs)
        words = self.panels[indices // PANEL, :, indices % PANEL]
        numbers = words.flatten(1)[:, : self.inputs]
        return (numbers * self.scales[indices].unsqueeze(1)).to(self.dtype)

    def int8(self) -> Int8Weight:
        """See `QuantizedMatrix`; a copy."""
        rows = self.panels.transpose(1, 2).reshape(-1, self._words * self._pack)
        numbers = rows[: self.outputs, : self.inputs].contiguous()
        return Int8Weight(numbers, self.scales[: self.outputs].clone())


class Int8Matrix(_Panels):
    """For rows that are quantized as they come."""

    weight_only = False

    def __init__(
        self,
        weight: Int8Weight,
        dtype: torch.dtype,
        kernels: Kernels,
        instruction_set: InstructionSet,
    ) -> None:
        super().__init__(
            weight,
            dtype,
            kernels,
            instruction_set,
            number_format=INT8_FORMAT,
            pack=WORD_BYTES,
            totals=weight.numbers.sum(1, dtype=torch.int32),
        )

    def multiply(
        self, x: Tensor, bias: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """See `Matrix`. Raises ValueError for tensors that do not fit the weight."""
        out = output_for(self, x, bias, dtype)
        if x.stride(1) != 1:
            x = x.contiguous()
        rows, inputs = x.shape
        numbers, scales = torch.empty((rows, self._words), dtype=torch.int32), torch.empty(rows)
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


class WidenedInt8Matrix(_Panels):
    """Weight-only: parts of panels are made the rows' type when they are multiplied with.

    Raises ValueError for rows of x that are no whole words.
    """

    weight_only = True

    def __init__(
        self,
        weight: Int8Weight,
        dtype: torch.dtype,
        kernels: Kernels,
        instruction_set: InstructionSet,
    ) -> None:
        if (reason := why_not_widened(weight, dtype)) is not None:
            raise ValueError(reason)
        super().__init__(
            weight,
            dtype,
            kernels,
            instruction_set,
            number_format=WIDENED_FORMATS[dtype],
            pack=WORD_BYTES // dtype.itemsize,
        )

    def multiply(
        self, x: Tensor, bias: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """See `Matrix`. Raises ValueError for tensors that do not fit the weight."""
        out = output_for(self, x, bias, dtype)
        multiply_words(self._kernels, self.address, x, bias, out)
        return out


def why_not_widened(weight: Int8Weight, dtype: torch.dtype) -> str | None:
    """What about a weight is beyond the weight-only kernels; None when nothing is."""
    inputs = weight.numbers.shape[1]
    if dtype not in FORMATS or inputs * dtype.itemsize % WORD_BYTES:
        return f"{inputs} columns of {dtype} are no whole words"
    return None

"""Int8 weights in panels, for the C++ kernels: see runtime/csrc/product.h and model/int8.py."""

import ctypes

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from plimsoll_runtime.kernels.large_pages import prefer_large_pages
from plimsoll_runtime.kernels.library import InstructionSet, Kernels
from plimsoll_runtime.model.int8 import Int8Weight, QuantizedMatrix
from plimsoll_runtime.model.matrix import (
    FORMATS,
    PANEL,
    WORD_BYTES,
    PackedWeight,
    check_indices,
    check_panels,
    multiply_words,
    output_for,
)

INT8_FORMAT = 2
"""`kInt8` in runtime/csrc/product.h."""
WIDENED_FORMATS = {torch.bfloat16: 3, torch.float32: 4}
"""`kBf16ByInt8` and `kFp32ByInt8` there."""


class _Panels(QuantizedMatrix):
    """`pack` is how many numbers are in a word that is multiplied with, `words` as many as a row
    takes. Of a `weight` that is only a shape, all is to come by `pack`."""

    def __init__(  # noqa: PLR0913 - the last by name
        self,
        weight: Int8Weight | torch.Size,
        dtype: torch.dtype,
        kernels: Kernels,
        instruction_set: InstructionSet,
        *,
        number_format: int,
        pack: int,
        has_totals: bool,
    ) -> None:
        super().__init__()
        self.outputs, self.inputs = _shape(weight)
        self.made_for = (kernels, instruction_set)
        self.dtype = dtype
        self._kernels = kernels
        self._pack = pack
        self._words = -(-self.inputs // pack)
        # The last word of a row, and the last panel, are filled up with zeros.
        count = -(-self.outputs // PANEL)
        panels = torch.empty((count, self._words, PANEL, pack), dtype=torch.int8)
        prefer_large_pages(panels)
        self.panels = nn.Parameter(panels, requires_grad=False)
        self.scales = nn.Parameter(torch.zeros(count * PANEL), requires_grad=False)
        self.totals = None
        if has_totals:
            totals = torch.zeros(count * PANEL, dtype=torch.int32)
            self.totals = nn.Parameter(totals, requires_grad=False)
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
        if isinstance(weight, Int8Weight):
            self._take(weight)

    def _take(self, weight: Int8Weight) -> None:
        filling = len(self.scales) - self.outputs
        rows = F.pad(weight.numbers, (0, self._words * self._pack - self.inputs, 0, filling))
        self.panels.copy_(rows.view(-1, PANEL, self._words, self._pack).transpose(1, 2))
        self.scales[: self.outputs] = weight.scales
        if self.totals is not None:
            self.totals[: self.outputs] = weight.numbers.sum(1, dtype=torch.int32)

    def pack(self, first: int, rows: Tensor) -> None:
        """Takes the weight of the outputs from `first` on, `[n, inputs]`, of any float dtype:
        made `dtype`, and then int8 by `quantize`, a panel at a time.

        Raises ValueError for what is not whole panels, but for the last one.
        """
        check_panels(self, first, rows)
        rows = rows.to(self.dtype).contiguous()
        self._kernels.pack_int8(
            self.panels[first // PANEL :].data_ptr(),
            self.scales[first:].data_ptr(),
            None if self.totals is None else self.totals[first:].data_ptr(),
            rows.data_ptr(),
            len(rows),
            self.inputs,
            rows.dtype == torch.bfloat16,
            self._words,
            self._pack,
            self._packed.instruction_set,
            torch.get_num_threads(),
        )

    def rows(self, indices: Tensor) -> Tensor:
        """See `Matrix`. Raises IndexError for an output that is not there."""
        indices = indices.contiguous()
        check_indices(indices, self.outputs)
        out = torch.empty((len(indices), self.inputs), dtype=self.dtype)
        self._kernels.unpack_int8(
            out.data_ptr(),
            self.address,
            indices.data_ptr(),
            len(indices),
            self.inputs,
            self.dtype == torch.bfloat16,
            torch.get_num_threads(),
        )
        return out

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
        weight: Int8Weight | torch.Size,
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
            has_totals=True,
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
        weight: Int8Weight | torch.Size,
        dtype: torch.dtype,
        kernels: Kernels,
        instruction_set: InstructionSet,
    ) -> None:
        if (reason := why_not_widened(_shape(weight)[1], dtype)) is not None:
            raise ValueError(reason)
        super().__init__(
            weight,
            dtype,
            kernels,
            instruction_set,
            number_format=WIDENED_FORMATS[dtype],
            pack=WORD_BYTES // dtype.itemsize,
            has_totals=False,
        )

    def multiply(
        self, x: Tensor, bias: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """See `Matrix`. Raises ValueError for tensors that do not fit the weight."""
        out = output_for(self, x, bias, dtype)
        multiply_words(self._kernels, self.address, x, bias, out)
        return out


def why_not_widened(inputs: int, dtype: torch.dtype) -> str | None:
    """What about a weight of `inputs` columns is beyond the weight-only kernels; None when nothing
    is."""
    if dtype not in FORMATS or inputs * dtype.itemsize % WORD_BYTES:
        return f"{inputs} columns of {dtype} are no whole words"
    return None


def _shape(weight: Int8Weight | torch.Size) -> torch.Size:
    return weight.numbers.shape if isinstance(weight, Int8Weight) else weight

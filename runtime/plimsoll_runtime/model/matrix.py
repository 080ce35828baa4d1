"""A layer's weight, as it lies in memory and as it is multiplied with: in torch, or packed."""

import ctypes
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from plimsoll_runtime.kernels.large_pages import prefer_large_pages
from plimsoll_runtime.kernels.library import InstructionSet, Kernels

PANEL = 32
"""Outputs that lie side by side; `kPanel` in runtime/csrc/product.h."""
FORMATS = {torch.float32: 0, torch.bfloat16: 1}
WORD_BYTES = 4


class Matrix(nn.Module):
    """A weight of `outputs` rows and `inputs` columns."""

    outputs: int
    inputs: int
    made_for: tuple[Kernels, InstructionSet] | None = None
    """By whom it is multiplied with, where its form is theirs."""

    def multiply(
        self, x: Tensor, bias: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """x · Wᵀ + bias, `[T, inputs]` to `[T, outputs]`; of x's dtype, or of `dtype`."""
        raise NotImplementedError

    def rows(self, indices: Tensor) -> Tensor:
        """The weight of these outputs, `[n]` to `[n, inputs]`."""
        raise NotImplementedError

    def weight(self) -> Tensor:
        """All of it `[outputs, inputs]`."""
        raise NotImplementedError


class TorchMatrix(Matrix):
    """A weight as it is in checkpoints. On every device."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.outputs, self.inputs = weight.shape
        self.held = nn.Parameter(weight, requires_grad=False)

    def multiply(
        self, x: Tensor, bias: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """See `Matrix`."""
        out = F.linear(x, self.held, bias)
        return out if dtype is None else out.to(dtype)

    def rows(self, indices: Tensor) -> Tensor:
        """See `Matrix`."""
        return F.embedding(indices, self.held)

    def weight(self) -> Tensor:
        """See `Matrix`; not a copy."""
        return self.held


class PackedWeight(ctypes.Structure):
    """`PackedWeight` in runtime/csrc/product.h."""

    _fields_ = (
        ("panels", ctypes.c_void_p),
        ("words", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        ("scales", ctypes.c_void_p),
        ("totals", ctypes.c_void_p),
        ("format", ctypes.c_int32),
        ("instruction_set", ctypes.c_int32),
    )


class PackedMatrix(Matrix):
    """A weight in panels, for the C++ kernels: see runtime/csrc/product.h.

    A row of a product is the same bits whatever rows are beside it. With `empty`, `weight` only
    says what is to come by `pack`. Raises ValueError for what `why_not_packed` names.
    """

    def __init__(
        self,
        weight: Tensor,
        kernels: Kernels,
        instruction_set: InstructionSet,
        *,
        empty: bool = False,
    ) -> None:
        super().__init__()
        if (reason := why_not_packed(weight)) is not None:
            raise ValueError(reason)
        self.outputs, self.inputs = weight.shape
        self.dtype = weight.dtype
        self.made_for = (kernels, instruction_set)
        self._kernels = kernels
        self._words = self.inputs * weight.itemsize // WORD_BYTES
        panels = torch.empty((-(-self.outputs // PANEL), self._words, PANEL), dtype=torch.int32)
        prefer_large_pages(panels)
        self.panels = nn.Parameter(panels, requires_grad=False)
        self._packed = PackedWeight(
            panels=panels.data_ptr(),
            words=self._words,
            outputs=self.outputs,
            format=FORMATS[weight.dtype],
            instruction_set=instruction_set,
        )
        self.address = ctypes.addressof(self._packed)
        if not empty:
            self.pack(0, weight)

    def pack(self, first: int, rows: Tensor) -> None:
        """Takes the weight of the outputs from `first` on, `[n, inputs]`, of any float dtype.

        Raises ValueError for what is not whole panels, but for the last one.
        """
        check_panels(self, first, rows)
        rows = rows.to(self.dtype).contiguous()
        if rows.data_ptr() % WORD_BYTES:
            rows = rows.clone()
        self._kernels.pack(
            self.panels[first // PANEL :].data_ptr(),
            rows.data_ptr(),
            self._words,
            len(rows),
            self._words,
            torch.get_num_threads(),
        )

    def multiply(
        self, x: Tensor, bias: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """See `Matrix`. Raises ValueError for tensors that do not fit the weight."""
        out = output_for(self, x, bias, dtype)
        multiply_words(self._kernels, self.address, x, bias, out)
        return out

    def rows(self, indices: Tensor) -> Tensor:
        """See `Matrix`. Raises IndexError for an output that is not there."""
        indices = indices.contiguous()
        check_indices(indices, self.outputs)
        out = torch.empty((len(indices), self.inputs), dtype=self.dtype)
        self._kernels.unpack(
            out.data_ptr(),
            self._packed.panels,
            indices.data_ptr(),
            len(indices),
            self._words,
            torch.get_num_threads(),
        )
        return out

    def weight(self) -> Tensor:
        """See `Matrix`; a copy."""
        return self.rows(torch.arange(self.outputs))


def check_panels(matrix: Matrix, first: int, rows: Tensor) -> None:
    """Raises ValueError unless `rows` `[n, inputs]`, of the outputs from `first` on, are whole
    panels or end with the last one."""
    end = first + len(rows)
    whole = first % PANEL == 0 and (end % PANEL == 0 or end == matrix.outputs)
    if not whole or end > matrix.outputs or rows.shape[1] != matrix.inputs:
        raise ValueError(
            f"outputs {first} to {end} of {rows.shape[1]} inputs are no whole panels of "
            f"{matrix.outputs} of {matrix.inputs}"
        )


class HasDtype(Protocol):
    """A matrix whose rows of x, and bias, must be of its dtype."""

    inputs: int
    outputs: int
    dtype: torch.dtype


def output_for(
    matrix: HasDtype, x: Tensor, bias: Tensor | None, dtype: torch.dtype | None
) -> Tensor:
    """Memory for the product `[T, outputs]`. Raises ValueError for tensors that do not fit."""
    rows, inputs = x.shape
    if inputs != matrix.inputs or x.dtype != matrix.dtype or x.device.type != "cpu":
        raise ValueError(
            f"x is {x.dtype} {tuple(x.shape)} on {x.device.type}, and the weight wants "
            f"{matrix.inputs} columns of {matrix.dtype} on cpu"
        )
    out = torch.empty((rows, matrix.outputs), dtype=dtype or matrix.dtype)
    if bias is not None and (bias.shape != (matrix.outputs,) or bias.dtype != out.dtype):
        raise ValueError(f"the bias is {bias.dtype} {tuple(bias.shape)}")
    return out


def multiply_words(
    kernels: Kernels, address: int, x: Tensor, bias: Tensor | None, out: Tensor
) -> None:
    """x times the packed weight at `address`, which takes rows as whole words, to `out`."""
    rows = len(x)
    if x.stride(1) != 1 or (rows > 1 and x.stride(0) * x.itemsize % WORD_BYTES):
        x = x.contiguous()
    kernels.multiply(
        address,
        x.data_ptr(),
        x.stride(0) * x.itemsize // WORD_BYTES,
        rows,
        None,
        None if bias is None else bias.data_ptr(),
        out.data_ptr(),
        out.shape[1],
        out.dtype == torch.bfloat16,
        torch.get_num_threads(),
    )


def check_indices(indices: Tensor, outputs: int) -> None:
    """Raises IndexError for an output that is not there."""
    # In Python: for the few of a step, a call of torch takes longer than all of them.
    numbers = indices.tolist()
    if numbers and not 0 <= min(numbers) <= max(numbers) < outputs:
        raise IndexError(f"rows {min(numbers)} to {max(numbers)} of {outputs}")


def why_not_packed(weight: Tensor) -> str | None:
    """What about a weight is beyond the kernels; None when nothing is."""
    if weight.device.type != "cpu":
        return f"the weight is on {weight.device.type}, and the kernels are for CPU"
    if weight.dtype not in FORMATS:
        return f"the weight is {weight.dtype}, and the kernels know float32 and bfloat16"
    if weight.shape[1] * weight.itemsize % WORD_BYTES:
        return f"{weight.shape[1]} columns of {weight.dtype} are no whole words"
    return None

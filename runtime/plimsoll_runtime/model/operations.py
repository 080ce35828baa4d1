"""What a model computes between attention calls: in torch, readable, and by the C++ kernels.

Both give the same numbers but for the order of sums and, in bf16, for a last rounding.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.kernels.library import (
    InstructionSet,
    Kernels,
    KernelsUnavailableError,
    load_kernels,
)
from plimsoll_runtime.model.decoder import LayerWeights, NativeDecoder
from plimsoll_runtime.model.int8 import QuantizedMatrix, TorchInt8Matrix
from plimsoll_runtime.model.matrix import Matrix, PackedMatrix, TorchMatrix, why_not_packed
from plimsoll_runtime.model.packed_int8 import Int8Matrix, WidenedInt8Matrix, why_not_widened
from plimsoll_runtime.model.rope import rotate

PackedInt8 = Int8Matrix | WidenedInt8Matrix


class Operations(Protocol):
    """T is the number of tokens in the step."""

    @property
    def made_for(self) -> tuple[Kernels, InstructionSet] | None:
        """As of the matrices that these make."""

    def add_rms_norm(self, x: Tensor, added: Tensor | None, weight: Tensor, eps: float) -> Tensor:
        """Adds `added` to `x` `[T, size]` in place; returns x / rms(x) in fp32, then times the
        weight in the model's dtype (arXiv:1910.07467)."""

    def rotate(self, x: Tensor, heads: int, table: Tensor) -> Tensor:
        """The first `heads` of `x` `[T, heads and more, head_dim]`, rotated, maybe in place.

        `table` is `[T, 2, head_dim / 2]` fp32.
        """

    def silu_and_mul(self, x: Tensor) -> Tensor:
        """SiLU of the first half of each row times the second: `[T, 2 * size]` to `[T, size]`."""

    def matrix(self, weight: Tensor) -> Matrix:
        """A weight `[outputs, inputs]` in the form in which it is multiplied with."""

    def empty_matrix(self, weight: Tensor) -> PackedMatrix | None:
        """What `matrix` would make of a weight like this one, to be packed part by part; None where
        that is of another form."""

    def int8_matrix(self, matrix: QuantizedMatrix) -> QuantizedMatrix:
        """The same of an int8 weight."""

    def empty_int8_matrix(self, shape: torch.Size, *, weight_only: bool) -> PackedInt8 | None:
        """As `empty_matrix`, for a weight that becomes int8 as it is packed."""


class TorchOperations:
    """See `Operations`. On every device."""

    made_for = None

    def add_rms_norm(self, x: Tensor, added: Tensor | None, weight: Tensor, eps: float) -> Tensor:
        """See `Operations`."""
        if added is not None:
            x += added
        return weight * F.rms_norm(x.float(), weight.shape, None, eps).to(x.dtype)

    def rotate(self, x: Tensor, heads: int, table: Tensor) -> Tensor:
        """See `Operations`."""
        return rotate(x[:, :heads], table)

    def silu_and_mul(self, x: Tensor) -> Tensor:
        """See `Operations`."""
        gate, up = x.chunk(2, dim=-1)
        return F.silu(gate) * up

    def matrix(self, weight: Tensor) -> Matrix:
        """See `Operations`."""
        return TorchMatrix(weight)

    def empty_matrix(self, weight: Tensor) -> PackedMatrix | None:
        """See `Operations`."""
        del weight
        return None

    def int8_matrix(self, matrix: QuantizedMatrix) -> QuantizedMatrix:
        """See `Operations`."""
        return TorchInt8Matrix(matrix.int8(), matrix.dtype, weight_only=matrix.weight_only)

    def empty_int8_matrix(self, shape: torch.Size, *, weight_only: bool) -> PackedInt8 | None:
        """See `Operations`."""
        del shape, weight_only
        return None


TORCH_OPERATIONS = TorchOperations()


class NativeOperations:
    """See `Operations`. For tensors of `dtype` on CPU; raises ValueError for any other."""

    def __init__(
        self, kernels: Kernels, dtype: torch.dtype, instruction_set: InstructionSet | None = None
    ) -> None:
        chosen = kernels.best if instruction_set is None else instruction_set
        if chosen > kernels.best:
            raise ValueError(f"this processor has {kernels.best.name} at most, not {chosen.name}")
        if dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"the kernels know float32 and bfloat16, not {dtype}")
        self._kernels = kernels
        self._dtype = dtype
        self._instruction_set = chosen
        self.made_for = (kernels, chosen)
        self._how = 2 * chosen + (dtype == torch.bfloat16)

    def add_rms_norm(self, x: Tensor, added: Tensor | None, weight: Tensor, eps: float) -> Tensor:
        """See `Operations`."""
        rows, width = x.shape
        self._check("x", x, (rows, width))
        self._check("weight", weight, (width,))
        if added is not None:
            self._check("added", added, (rows, width))
        out = torch.empty((rows, width), dtype=self._dtype)
        self._kernels.rms_norm(
            out.data_ptr(),
            x.data_ptr(),
            x.stride(0),
            None if added is None else added.data_ptr(),
            0 if added is None else added.stride(0),
            weight.data_ptr(),
            eps,
            rows,
            width,
            self._how,
            torch.get_num_threads(),
        )
        return out

    def rotate(self, x: Tensor, heads: int, table: Tensor) -> Tensor:
        """See `Operations`; in place."""
        rows, all_heads, head_dim = x.shape
        self._check("x", x, (rows, all_heads, head_dim), whole=True)
        if not 0 < heads <= all_heads or head_dim % 2:
            raise ValueError(f"{heads} of {all_heads} heads of {head_dim} dimensions")
        shape = (rows, 2, head_dim // 2)
        if table.shape != shape or table.dtype != torch.float32 or not table.is_contiguous():
            raise ValueError(f"the rotations must be contiguous float32 {shape}")
        self._kernels.rotate(
            x.data_ptr(),
            all_heads * head_dim,
            table.data_ptr(),
            rows,
            heads,
            head_dim,
            self._how,
            torch.get_num_threads(),
        )
        return x[:, :heads]

    def silu_and_mul(self, x: Tensor) -> Tensor:
        """See `Operations`."""
        rows, both = x.shape
        self._check("x", x, (rows, both))
        if both % 2:
            raise ValueError(f"{both} columns are no two halves")
        out = torch.empty((rows, both // 2), dtype=self._dtype)
        self._kernels.silu_and_mul(
            out.data_ptr(),
            x.data_ptr(),
            x.stride(0),
            rows,
            both // 2,
            self._how,
            torch.get_num_threads(),
        )
        return out

    def matrix(self, weight: Tensor) -> Matrix:
        """See `Operations`. Without wide vectors torch's own products are faster."""
        if (packed := self.empty_matrix(weight)) is None:
            return TorchMatrix(weight)
        packed.pack(0, weight)
        return packed

    def empty_matrix(self, weight: Tensor) -> PackedMatrix | None:
        """See `Operations`."""
        if why_not_packed(weight) or self._instruction_set is InstructionSet.PORTABLE:
            return None
        return PackedMatrix(weight, self._kernels, self._instruction_set, empty=True)

    def int8_matrix(self, matrix: QuantizedMatrix) -> QuantizedMatrix:
        """See `Operations`."""
        weight = matrix.int8()
        if not matrix.weight_only:
            return Int8Matrix(weight, self._dtype, self._kernels, self._instruction_set)
        if why_not_widened(matrix.inputs, self._dtype):
            return TORCH_OPERATIONS.int8_matrix(matrix)
        return WidenedInt8Matrix(weight, self._dtype, self._kernels, self._instruction_set)

    def empty_int8_matrix(self, shape: torch.Size, *, weight_only: bool) -> PackedInt8 | None:
        """See `Operations`."""
        if not weight_only:
            return Int8Matrix(shape, self._dtype, self._kernels, self._instruction_set)
        if why_not_widened(shape[1], self._dtype):
            return None
        return WidenedInt8Matrix(shape, self._dtype, self._kernels, self._instruction_set)

    def decoder(self, config: ModelConfig, layers: Sequence[LayerWeights]) -> NativeDecoder:
        """All layers of a model without other ranks, in one call."""
        return NativeDecoder(self._kernels, self._how, config, layers, self._dtype)

    def _check(self, name: str, x: Tensor, shape: tuple[int, ...], *, whole: bool = False) -> None:
        if x.shape != shape or x.dtype != self._dtype or x.device.type != "cpu":
            raise ValueError(
                f"{name} must be {self._dtype} {shape} on cpu, not {x.dtype} {tuple(x.shape)} on "
                f"{x.device.type}"
            )
        # Rows may lie apart; what is in a row must not.
        if (whole and not x.is_contiguous()) or (x.numel() and x.stride(-1) != 1):
            raise ValueError(f"{name} must be contiguous, not with strides {x.stride()}")


def in_form_of(operations: Operations, matrix: Matrix) -> Matrix:
    """The same weight in the form in which these multiply."""
    if matrix.made_for is not None and matrix.made_for == operations.made_for:
        return matrix
    if isinstance(matrix, QuantizedMatrix):
        return operations.int8_matrix(matrix)
    return operations.matrix(matrix.weight())


def choose_operations(weight: Tensor, backend: AttentionBackend) -> Operations:
    """Those for a model with such weights: the kernels where they are wanted and can be."""
    if backend is not AttentionBackend.TORCH and weight.device.type == "cpu":
        # That there are none is told where attention is chosen.
        with suppress(KernelsUnavailableError, ValueError):
            return NativeOperations(load_kernels(), weight.dtype)
    return TORCH_OPERATIONS

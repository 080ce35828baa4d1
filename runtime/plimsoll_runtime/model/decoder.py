"""All decoder layers of a step in one call of the C++ kernels.

The same kernels in the same order as `DecoderLayer.forward` calls them, and so the same bits;
without Python between them, which for small models takes as long as the kernels.
"""

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from plimsoll_runtime.attention.native import NativeAttention
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.kernels.library import Kernels
from plimsoll_runtime.model.matrix import WORD_BYTES, PackedMatrix
from plimsoll_runtime.model.packed_int8 import Int8Matrix, WidenedInt8Matrix

AnyPackedMatrix = PackedMatrix | Int8Matrix | WidenedInt8Matrix
_P, _N = ctypes.c_void_p, ctypes.c_int64


class _Linear(ctypes.Structure):
    _fields_ = (("weight", _P), ("bias", _P))


class _Layer(ctypes.Structure):
    """`DecoderLayer` in runtime/csrc/decoder.cpp."""

    _fields_ = (
        ("input_norm", _P),
        ("post_attention_norm", _P),
        ("query_norm", _P),
        ("key_norm", _P),
        ("qkv", _Linear),
        ("out", _Linear),
        ("gate_up", _Linear),
        ("down", _Linear),
    )


class _Decoder(ctypes.Structure):
    _fields_ = (
        ("layers", _P),
        ("num_layers", _N),
        ("hidden", _N),
        ("heads", _N),
        ("kv_heads", _N),
        ("head_dim", _N),
        ("inner", _N),
        ("eps", ctypes.c_float),
        ("how", ctypes.c_int32),
    )


class _Buffers(ctypes.Structure):
    _fields_ = tuple(
        (name, _P)
        for name in (
            "normed",
            "qkv",
            "attended",
            "added",
            "gate_up",
            "inner",
            "quantized",
            "scales",
        )
    )


class PackedLinear(NamedTuple):
    """A projection of a layer: its packed weight, and its bias `[outputs]`."""

    matrix: AnyPackedMatrix
    bias: Tensor | None


class LayerWeights(NamedTuple):
    """What one layer computes with; the norms of queries and keys may be missing."""

    input_norm: Tensor
    post_attention_norm: Tensor
    query_norm: Tensor | None
    key_norm: Tensor | None
    qkv: PackedLinear
    out: PackedLinear
    gate_up: PackedLinear
    down: PackedLinear


class NativeDecoder:
    """The layers of a model that has no other ranks, with weights of `dtype`.

    `how` is the kernels' number for the instruction set and dtype.
    """

    def __init__(
        self,
        kernels: Kernels,
        how: int,
        config: ModelConfig,
        layers: Sequence[LayerWeights],
        dtype: torch.dtype,
    ) -> None:
        self._call = kernels.decode
        self._dtype = dtype
        self._hidden = config.hidden_size
        self._heads = config.num_attention_heads
        self._kept = layers  # what the structures point to
        self._layers = (_Layer * len(layers))(*map(_layer, layers))
        self._model = _Decoder(
            layers=ctypes.addressof(self._layers),
            num_layers=len(layers),
            hidden=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            inner=config.intermediate_size,
            eps=config.rms_norm_eps,
            how=how,
        )
        self._widths = (
            config.hidden_size,
            (config.num_attention_heads + 2 * config.num_kv_heads) * config.head_dim,
            config.num_attention_heads * config.head_dim,
            config.hidden_size,
            2 * config.intermediate_size,
            config.intermediate_size,
        )
        self._rows = -1
        self._room = torch.empty(0, dtype=dtype)
        self._added = self._room
        self._buffers = _Buffers()
        inputs = max(config.hidden_size, self._widths[2], config.intermediate_size)
        self._words = -(-inputs // WORD_BYTES)
        self._quantized = torch.empty(0, self._words + 1, dtype=torch.int32)
        self._rotation = (2, config.head_dim // 2)

    def run(self, x: Tensor, table: Tensor, attention: NativeAttention) -> Tensor:
        """What the last layer makes of embeddings `x` `[T, hidden]`, which it overwrites.

        `table` is the rotation of each token `[T, 2, head_dim / 2]` fp32; `attention` has been told
        of the step. Raises ValueError for tensors that do not fit.
        """
        rows = len(x)
        for name, tensor, shape, dtype in (
            ("x", x, (rows, self._hidden), self._dtype),
            ("table", table, (rows, *self._rotation), torch.float32),
        ):
            if tensor.shape != shape or tensor.dtype != dtype or not tensor.is_contiguous():
                raise ValueError(
                    f"{name} must be contiguous {dtype} {shape}, not {tensor.dtype} "
                    f"{tuple(tensor.shape)}"
                )
        step = attention.step_address(rows, self._heads)
        if rows != self._rows:
            self._lay_out(rows)
        failed = self._call(
            ctypes.addressof(self._model),
            step,
            table.data_ptr(),
            x.data_ptr(),
            ctypes.addressof(self._buffers),
            rows,
            torch.get_num_threads(),
        )
        if failed:
            raise MemoryError("no memory for the states of a split context")
        return x.add_(self._added) if self._kept else x

    def _lay_out(self, rows: int) -> None:
        """Makes buffers for steps of so many rows, in room that grows with the largest one."""
        sizes = [rows * width for width in self._widths]
        if self._room.numel() < sum(sizes):
            self._room = torch.empty(sum(sizes), dtype=self._dtype)
        parts = torch.split(self._room[: sum(sizes)], sizes)
        if len(self._quantized) < rows:
            self._quantized = torch.empty(rows, self._words + 1, dtype=torch.int32)
        count = len(self._quantized)
        words, scales = torch.split(self._quantized.view(-1), [count * self._words, count])
        self._buffers = _Buffers(*(part.data_ptr() for part in (*parts, words, scales)))
        self._added = parts[3].view(rows, self._hidden)
        self._rows = rows


def _layer(weights: LayerWeights) -> _Layer:
    return _Layer(
        _address(weights.input_norm),
        _address(weights.post_attention_norm),
        _address(weights.query_norm),
        _address(weights.key_norm),
        *(
            _Linear(linear.matrix.address, _address(linear.bias))
            for linear in (weights.qkv, weights.out, weights.gate_up, weights.down)
        ),
    )


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()

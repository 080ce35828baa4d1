"""Layers of which each tensor-parallel rank holds a share (arXiv:1909.08053).

A column-parallel layer needs the whole input and makes the rank's share of the output; a
row-parallel one takes that share and makes a summand of the whole output. So attention and MLP
need one all-reduce each. With a single rank the same layers hold everything and nothing is sent.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from plimsoll_runtime.core.partition import vocab_range, vocab_share
from plimsoll_runtime.model.int8 import TorchInt8Matrix
from plimsoll_runtime.model.matrix import Matrix, TorchMatrix

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


class Group(Protocol):
    """The ranks that share a model, seen from one of them.

    Every rank must make the same calls in the same order.
    """

    @property
    def rank(self) -> int:
        """This one's number, from 0."""

    @property
    def size(self) -> int:
        """How many there are."""

    def all_reduce(self, x: Tensor) -> Tensor:
        """The sum of all ranks' `x`; may be `x` itself."""

    def gather(self, x: Tensor) -> Tensor:
        """Rank 0 gets all ranks' `x` side by side in the last dimension, others their own."""


@dataclass(frozen=True)
class Single:
    """A rank without others."""

    rank: int = 0
    size: int = 1

    def all_reduce(self, x: Tensor) -> Tensor:
        """`x`."""
        return x

    def gather(self, x: Tensor) -> Tensor:
        """`x`."""
        return x


SINGLE = Single()


class Part(NamedTuple):
    """A tensor that holds a checkpoint's tensor, or only the `start`-th and following of its
    `whole` rows (`dim` 0) or columns (`dim` 1)."""

    tensor: Tensor
    dim: int
    start: int
    whole: int

    @classmethod
    def all_of(cls, tensor: Tensor) -> "Part":
        """The tensor holds everything."""
        return cls(tensor, 0, 0, tensor.shape[0])

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self.tensor.shape[self.dim] == self.whole

    @property
    def whole_shape(self) -> list[int]:
        """The shape of the checkpoint's tensor."""
        shape = list(self.tensor.shape)
        shape[self.dim] = self.whole
        return shape

    @property
    def region(self) -> tuple[slice, ...]:
        """What of the checkpoint's tensor this is."""
        share = slice(self.start, self.start + self.tensor.shape[self.dim])
        return (share,) if self.dim == 0 else (slice(None), share)

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        """Those that the checkpoint's tensor may have."""
        return (torch.int8,) if self.tensor.dtype == torch.int8 else FLOATS

    def fill(self, source: Tensor) -> None:
        """Takes `region` of the checkpoint's tensor."""
        self.tensor.copy_(source)


class Columns(NamedTuple):
    """One projection of a column-parallel layer: `size` of its `whole` outputs, from `start`."""

    size: int
    start: int
    whole: int


class Weighted(nn.Module):
    """A layer with a weight `[outputs, inputs]`, uninitialised until it is loaded.

    Once it is, its matrix may be put into another form.
    """

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.matrix: Matrix = TorchMatrix(torch.empty(outputs, inputs))

    @property
    def weight(self) -> Tensor:
        """What is to be loaded; a copy where the matrix has another form already."""
        return self.matrix.weight()

    def checkpoint_tensors(self) -> dict[str, Tensor]:
        """The tensors of its weight by what checkpoints call them, a row for each output."""
        if isinstance(self.matrix, TorchInt8Matrix):
            scales = self.matrix.scales.unsqueeze(1)
            return {"weight": self.matrix.numbers, "weight_scale": scales}
        return {"weight": self.weight}


class ColumnParallelLinear(Weighted):
    """Several projections of the same input as one, each with this rank's share of its outputs."""

    def __init__(self, inputs: int, outputs: tuple[Columns, ...], bias: bool) -> None:
        size = sum(columns.size for columns in outputs)
        super().__init__(size, inputs)
        self.outputs = outputs
        self.bias = nn.Parameter(torch.empty(size), requires_grad=False) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """`[T, inputs]` to `[T, outputs of this rank]`."""
        return self.matrix.multiply(x, self.bias)

    def checkpoint_parts(self, prefix: str, names: tuple[str, ...]) -> dict[str, Part]:
        """Where each projection's own tensors go: rows of the fused ones."""
        fused = self.checkpoint_tensors() | ({} if self.bias is None else {"bias": self.bias})
        sizes = [columns.size for columns in self.outputs]
        return {
            f"{prefix}{name}.{kind}": Part(rows, 0, columns.start, columns.whole)
            for kind, tensor in fused.items()
            for name, rows, columns in zip(
                names, torch.split(tensor, sizes), self.outputs, strict=True
            )
        }


class RowParallelLinear(Weighted):
    """A projection of an input of which this rank has `inputs` columns; all ranks get the sum.

    Every rank holds the whole bias and adds it once, to the sum.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool, group: Group) -> None:
        super().__init__(outputs, inputs)
        self.group = group
        self.bias = nn.Parameter(torch.empty(outputs), requires_grad=False) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """`[T, inputs of this rank]` to `[T, outputs]`."""
        if self.group.size == 1:
            return self.matrix.multiply(x, self.bias)
        out = self.group.all_reduce(self.matrix.multiply(x))
        return out if self.bias is None else out + self.bias

    def checkpoint_parts(self, prefix: str, name: str) -> dict[str, Part]:
        """Where the projection's tensors go: columns of its weight, all of its bias."""
        inputs = self.matrix.inputs
        start, whole = self.group.rank * inputs, self.group.size * inputs
        parts = {
            f"{prefix}{name}.{kind}": Part(tensor, 1, start, whole)
            if kind == "weight"
            else Part.all_of(tensor)
            for kind, tensor in self.checkpoint_tensors().items()
        }
        if self.bias is not None:
            parts[f"{prefix}{name}.bias"] = Part.all_of(self.bias)
        return parts


class VocabParallel(Weighted):
    """The vectors of this rank's share of the vocabulary, as an embedding, an output head or both.

    All ranks have equally many rows; those beyond the vocabulary are zeros that nothing reads.
    """

    def __init__(self, vocab_size: int, hidden_size: int, group: Group) -> None:
        super().__init__(vocab_share(vocab_size, group.size), hidden_size)
        self.vocab_size = vocab_size
        self.group = group
        self.ids = vocab_range(vocab_size, group.rank, group.size)
        self.weight[len(self.ids) :].zero_()

    def embed(self, token_ids: Tensor) -> Tensor:
        """`[T]` to `[T, hidden]`."""
        if self.group.size == 1:
            return self.matrix.rows(token_ids)
        local = token_ids - self.ids.start
        elsewhere = (local < 0) | (local >= len(self.ids))
        rows = self.matrix.rows(local.masked_fill(elsewhere, 0))
        return self.group.all_reduce(rows.masked_fill_(elsewhere.unsqueeze(1), 0.0))

    def logits(self, x: Tensor) -> Tensor:
        """`[rows, hidden]` to fp32 `[rows, vocab]`; on ranks other than 0 only their share."""
        logits = self.group.gather(self.matrix.multiply(x, dtype=torch.float32))
        return logits if logits.shape[1] == self.vocab_size else logits[:, : self.vocab_size]

    def checkpoint_parts(self, name: str) -> dict[str, Part]:
        """Where the checkpoint's tensor goes."""
        count, start = len(self.ids), self.ids.start
        return {
            name.replace("weight", kind): Part(tensor[:count], 0, start, self.vocab_size)
            for kind, tensor in self.checkpoint_tensors().items()
        }

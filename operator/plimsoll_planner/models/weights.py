"""The weights of a model by what they are for."""

from dataclasses import dataclass, field
from enum import Enum


class Part(Enum):
    """What weights are for: decides how often they are read and in which format they are kept."""

    EMBEDDING = "a row of it per token"
    HEAD = "by every token that is emitted"
    ATTENTION = "by every token, before and after attention"
    MLP = "by every token, in an MLP or shared experts"
    EXPERT = "by the tokens routed to it"
    EXPERT_BIAS = "by the tokens routed to its expert, never quantized"
    ROUTER = "by every token, never quantized"
    ENCODER = "by images, before the language model"
    VECTOR = "by every token, element by element: norms, biases and other small ones"


@dataclass(frozen=True)
class Matrix:
    """`count` matrices of `rows` outputs by `columns` inputs.

    `shares` is over how many accelerators tensor parallelism can spread it, None for any number:
    those beyond hold copies. With `by_inputs` each has all outputs of a part of the inputs, else
    all inputs of a part of the outputs.
    """

    name: str
    part: Part
    rows: int
    columns: int
    count: int = 1
    shares: int | None = None
    by_inputs: bool = field(default=False, repr=False)

    @property
    def parameters(self) -> int:
        """Of all of them."""
        return self.count * self.rows * self.columns

    def share(self, tensor_parallel_size: int) -> int:
        """By what the matrix is divided among so many accelerators."""
        most = tensor_parallel_size if self.shares is None else self.shares
        return min(tensor_parallel_size, most)


def vector(name: str, parameters: int) -> Matrix:
    """Weights without a matrix product, such as norms; every accelerator holds them all."""
    return Matrix(name, Part.VECTOR, 1, parameters, shares=1)

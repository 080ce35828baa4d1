"""A decoder-only transformer as the planner sees it."""

from collections import Counter
from dataclasses import dataclass, field, replace

from plimsoll_planner.models.attention import AnyAttention
from plimsoll_planner.models.formats import Format
from plimsoll_planner.models.mlp import Experts, Mlp
from plimsoll_planner.models.weights import Matrix, Part, vector
from plimsoll_runtime.core.compressed_tensors import CompressedTensors


@dataclass(frozen=True)
class Layer:
    """Attention, and an MLP, experts or both; `vectors` counts the numbers in norms, biases and
    the like, but those of the experts."""

    attention: AnyAttention
    mlp: Mlp | None
    experts: Experts | None
    vectors: int

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """For a residual stream `hidden` wide."""
        return (
            *self.attention.matrices(hidden),
            *(self.mlp.matrices(hidden) if self.mlp else ()),
            *(self.experts.matrices(hidden) if self.experts else ()),
            vector("vectors", self.vectors),
        )


@dataclass(frozen=True)
class Model:
    """What a config.json says, as far as it costs memory or time.

    `positions` is the rows of a learned position embedding, 0 where positions are rotary;
    `encoders` are weights beside the language model, such as for images.
    `checkpoint` is the format of the published weights, `compressed` what the engine reads of them
    where they are quantized in a way that it knows.
    """

    architecture: str
    hidden_size: int
    vocab_size: int
    max_position_embeddings: int
    layers: tuple[Layer, ...]
    tied: bool
    vectors: int
    positions: int
    checkpoint: Format
    encoders: tuple[Matrix, ...] = ()
    compressed: CompressedTensors | None = field(default=None, repr=False)

    def matrices(self) -> tuple[Matrix, ...]:
        """All weights, equal ones of several layers together."""
        found = list(self.outer_matrices())
        for layer, times in Counter(self.layers).items():
            every = layer.matrices(self.hidden_size)
            found += [replace(one, count=one.count * times) for one in every]
        return tuple(found)

    def outer_matrices(self) -> tuple[Matrix, ...]:
        """Weights before and after the layers."""
        hidden = self.hidden_size
        found = [
            Matrix("embedding", Part.EMBEDDING, self.vocab_size, hidden),
            vector("vectors", self.vectors),
            *self.encoders,
        ]
        if self.positions:
            found.append(Matrix("positions", Part.EMBEDDING, self.positions, hidden, shares=1))
        if not self.tied:
            found.append(Matrix("head", Part.HEAD, self.vocab_size, hidden))
        return tuple(found)

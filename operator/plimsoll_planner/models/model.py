"""A decoder-only transformer as the planner sees it."""

from collections import Counter
from dataclasses import dataclass

from plimsoll_planner.models.attention import AnyAttention
from plimsoll_planner.models.formats import Format
from plimsoll_planner.models.mlp import Experts, Mlp
from plimsoll_planner.models.weights import Matrix, Part, vector


@dataclass(frozen=True)
class Layer:
    """Attention, and an MLP, experts or both; `vectors` counts norms, biases and the like.

    `expert_vectors` counts those of all routed experts together.
    """

    attention: AnyAttention
    mlp: Mlp | None
    experts: Experts | None
    vectors: int
    expert_vectors: int = 0

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """For a residual stream `hidden` wide."""
        return (
            *self.attention.matrices(hidden),
            *(self.mlp.matrices(hidden) if self.mlp else ()),
            *(self.experts.matrices(hidden) if self.experts else ()),
            vector("vectors", self.vectors),
            *(
                [Matrix("biases", Part.VECTOR, 1, self.expert_vectors)]
                if self.expert_vectors
                else ()
            ),
        )


@dataclass(frozen=True)
class Model:
    """What a config.json says, as far as it costs memory or time.

    `positions` is the rows of a learned position embedding, 0 where positions are rotary.
    `checkpoint` is the format of the published weights.
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

    def matrices(self) -> tuple[Matrix, ...]:
        """All weights, equal ones of several layers together."""
        hidden = self.hidden_size
        found = [
            Matrix("embedding", Part.EMBEDDING, self.vocab_size, hidden),
            vector("vectors", self.vectors),
        ]
        if self.positions:
            found.append(Matrix("positions", Part.EMBEDDING, self.positions, hidden, shares=1))
        if not self.tied:
            found.append(Matrix("head", Part.HEAD, self.vocab_size, hidden))
        for layer, times in Counter(self.layers).items():
            for one in layer.matrices(hidden):
                repeated = one.count * times
                found.append(
                    Matrix(one.name, one.part, one.rows, one.columns, repeated, one.shares)
                )
        return tuple(found)

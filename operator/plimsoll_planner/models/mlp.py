"""The other half of a layer: an MLP for every token, experts for some, or both."""

import math
from dataclasses import dataclass

from plimsoll_planner.models.weights import Matrix, Part


@dataclass(frozen=True)
class Mlp:
    """Every token goes through it; a `gated` one has a third matrix (Shazeer, arXiv 2002.05202).

    Shared experts of one layer are one MLP as wide as all of them.
    """

    width: int
    gated: bool = True

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """For a residual stream `hidden` wide."""
        gate = (Matrix("gate", Part.MLP, self.width, hidden),) if self.gated else ()
        up = Matrix("up", Part.MLP, self.width, hidden)
        down = Matrix("down", Part.MLP, hidden, self.width, by_inputs=True)
        return (*gate, up, down)


@dataclass(frozen=True)
class Experts:
    """`count` MLPs, of which a router sends each token through `per_token`; each has `biases`
    numbers in its biases."""

    count: int
    per_token: int
    width: int
    gated: bool = True
    biases: int = 0

    def touched(self, tokens: float) -> float:
        """How many different experts a batch of `tokens` is expected to need.

        count · (1 - (1 - per_token/count)^tokens): a token misses a given expert with probability
        1 - per_token/count. Routing is taken as uniform and independent; since the expression is
        concave in each expert's probability, any other routing with the same mean needs fewer.
        """
        missed = math.pow(1.0 - self.per_token / self.count, tokens)
        return self.count * (1.0 - missed)

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """For a residual stream `hidden` wide, with the router."""
        part, width, count = Part.EXPERT, self.width, self.count
        gate = (Matrix("gate", part, width, hidden, count),) if self.gated else ()
        return (
            *gate,
            Matrix("up", part, width, hidden, count),
            Matrix("down", part, hidden, width, count),
            Matrix("biases", Part.EXPERT_BIAS, 1, self.biases, count),
            Matrix("router", Part.ROUTER, count, hidden, shares=1),
        )

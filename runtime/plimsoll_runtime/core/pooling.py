"""From a prompt's hidden states to one vector: which positions count, chunk by chunk."""

from enum import StrEnum
from typing import NamedTuple


class Pooling(StrEnum):
    """Which of a prompt's final hidden states make its embedding, in sentence-transformers' words.

    The vector is their sum; whoever normalises it has their mean as well.
    """

    LAST = "lasttoken"
    FIRST = "cls"
    MEAN = "mean"

    @property
    def needs_whole_prompt(self) -> bool:
        """Whether positions count that the KV cache may hold: it has no hidden states."""
        return self is not Pooling.LAST


class PooledSpan(NamedTuple):
    """Positions from `start` to before `stop` whose hidden states are summed in this step."""

    start: int
    stop: int


def pooled_span(
    pooling: Pooling, num_prompt_tokens: int, num_pooled: int, start: int, stop: int
) -> PooledSpan | None:
    """What computing positions `start` to `stop` adds, after the first `num_pooled` that count.

    After a preemption positions are computed again that have been summed.
    """
    first = num_prompt_tokens - 1 if pooling is Pooling.LAST else 0
    end = 1 if pooling is Pooling.FIRST else num_prompt_tokens
    span = PooledSpan(max(start, first + num_pooled), min(stop, end))
    return span if span.start < span.stop else None

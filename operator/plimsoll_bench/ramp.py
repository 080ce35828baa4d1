"""Which load to try next, until latency against load shows its knee."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from plimsoll_planner.simulation.load_curve import bend

FACTOR = 1.6
"""From one load to the next."""
LASTS = 15.0
"""How long a load lasts, in times of the seconds that one request takes alone: a queue that grows
must have the time to show."""
PAST_THE_KNEE = 0.7
"""Of the most load over latency: below it the knee has been passed."""
MOST_POINTS = 16
_BEGIN = 0.25
"""Of the load at which one request follows the other."""


class LoadPoint(NamedTuple):
    """Requests per second, and mean seconds from due to end; None where requests failed."""

    rate: float
    e2e: float | None


def first_rate(e2e: float) -> float:
    """Where to begin, from the seconds that one request takes alone."""
    return _BEGIN / e2e


def next_rate(points: Sequence[LoadPoint]) -> float | None:
    """The next load to try; None where no more are needed.

    Loads rise until load over latency falls, or requests fail. Then the middles to both sides of
    the best are tried, as the knee is told from the best and its neighbours.
    """
    if len(points) >= MOST_POINTS:
        return None
    ordered = sorted(points)
    powers = [each.rate / each.e2e if each.e2e else 0.0 for each in ordered]
    best = max(range(len(powers)), key=powers.__getitem__)
    if powers[-1] > PAST_THE_KNEE * powers[best]:
        return ordered[-1].rate * FACTOR
    if best == 0:
        return ordered[0].rate / FACTOR
    for low, high in ((ordered[best - 1], ordered[best]), (ordered[best], ordered[best + 1])):
        if high.rate / low.rate > FACTOR**0.75:
            return math.sqrt(low.rate * high.rate)
    return None


def knee(points: Sequence[LoadPoint]) -> float | None:
    """Requests per second; see `load_curve.bend`. Loads at which requests failed do not count."""
    return bend([(each.rate, each.e2e) for each in sorted(points) if each.e2e])

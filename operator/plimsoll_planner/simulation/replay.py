"""A recorded trace at replicas of a plan: which requests come to those simulated, and when.

The load of a whole fleet is split at random, as a Service does. All replicas are then alike, so
that some of them, with the part of the trace that comes to them, stand for all.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.random_traffic import stream
from plimsoll_planner.simulation.simulator import EXTRA
from plimsoll_planner.simulation.trace import at_rate, fullest_from

WARM_UP = 0.3
"""Requests that pass before those measured, as a share of these: what came before them in the
trace, or, at its beginning, its end."""


@dataclass(frozen=True)
class Bounds:
    """How much is simulated: as many of the replicas as it takes for `enough` requests, and of what
    comes to them at most `most` in a row, the fullest part. `seed` is of the split."""

    enough: int
    most: int
    seed: int


@dataclass(frozen=True)
class Replay:
    """Requests for `replicas` of a fleet, of which `count` are measured after `skip` others."""

    replicas: int
    skip: int
    count: int
    arrivals: tuple[Arrival, ...]


def fleet_for(declared: float, rate: float) -> int:
    """How many replicas share the declared load where each gets about `rate`."""
    return max(1, round(declared / rate))


def replay(trace: Sequence[Arrival], fleet: int, rate: float, bounds: Bounds) -> Replay:
    """The trace at a fleet of which every replica gets `rate` requests a second on average.

    Raises ValueError as `at_rate` does.
    """
    taken = min(fleet, max(1, math.ceil(bounds.enough * fleet / len(trace))))
    whole = at_rate(trace, rate * fleet)
    chance = stream(bounds.seed, "replicas")
    own = [each for each in whole if fleet == taken or chance.random() * fleet < taken]
    if len(own) < 2:
        own = whole[:2]
    count = min(len(own), bounds.most)
    begin = fullest_from(own, count)
    skip = int(count * WARM_UP)
    period = own[-1].at - own[0].at + 1 / (rate * taken)
    span = range(begin - skip, begin + count + int(count * EXTRA))
    return Replay(taken, skip, count, tuple(_around(own, span, period)))


def _around(own: Sequence[Arrival], span: range, period: float) -> Iterator[Arrival]:
    """Requests by their place in the trace; before its beginning comes its end, and the reverse.

    These have contents of their own: in the trace nothing of them is in the cache.
    """
    first = own[span.start % len(own)].at + span.start // len(own) * period
    for place in span:
        turn, index = divmod(place, len(own))
        each = own[index]
        at = each.at + turn * period - first
        if turn:
            ids = tuple(-1 - prefix_id for prefix_id in each.prefix_ids)
            each = each._replace(prefix_ids=ids)
        yield each._replace(at=at)

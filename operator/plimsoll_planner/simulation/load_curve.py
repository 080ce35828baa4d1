"""Latency against load: the curve, its knee, and the most load that keeps a promise."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from plimsoll_planner.inputs import Objectives
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_planner.simulation.simulator import Fleet, simulate
from plimsoll_planner.simulation.summary import Summary

SHARES = (0.1, 0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
"""Of the capacity: the loads of a curve for which none are asked."""
_BURST = 6
"""Requests for each place in the engine that a capacity is measured with."""
_LEAST_BURST = 300
_HALVINGS = 4


@dataclass(frozen=True)
class Point:
    """Latency at `rate` requests per second over all replicas."""

    rate: float
    summary: Summary


@dataclass(frozen=True)
class LoadCurve:
    """Points by rising rate. Rates are requests per second over all replicas.

    `capacity` is the most that is served whatever the latency, `sustained` the highest simulated
    rate up to which every objective holds, 0 if none does. `knee` is None where the curve has none
    between its ends.
    """

    points: tuple[Point, ...]
    capacity: float
    sustained: float
    knee: float | None


def load_curve(
    at_rate: Callable[[float], Summary],
    rates: Iterable[float],
    capacity: float,
    objectives: Objectives,
) -> LoadCurve:
    """Simulates every rate, and more between the last that keeps the objectives and the next."""
    points = [Point(rate, at_rate(rate)) for rate in sorted(set(rates))]
    found = knee(points)
    kept = [point for point in points if keeps(point.summary, objectives)]
    broken = [point for point in points if not keeps(point.summary, objectives)]
    low = 0.0
    if broken:
        low = max((point.rate for point in kept if point.rate < broken[0].rate), default=0.0)
        high = broken[0].rate
        for _ in range(_HALVINGS if low else 0):
            middle = Point((low + high) / 2, at_rate((low + high) / 2))
            points.append(middle)
            if keeps(middle.summary, objectives):
                low = middle.rate
            else:
                high = middle.rate
    elif kept:
        low = kept[-1].rate
    points.sort(key=lambda point: point.rate)
    return LoadCurve(tuple(points), capacity, low, found)


def keeps(found: Summary, objectives: Objectives) -> bool:
    """Whether 95 of 100 requests are within each latency objective."""
    ttft, tpot = objectives.ttft_p95, objectives.tpot_p95
    return (ttft is None or found.ttft is None or found.ttft.p95 <= ttft) and (
        tpot is None or found.tpot is None or found.tpot.p95 <= tpot
    )


def knee(points: Sequence[Point]) -> float | None:
    """The load from which on latency grows by a larger factor than load; see `bend`."""
    return bend(
        [(point.rate, point.summary.e2e.mean) for point in points if point.summary.e2e is not None]
    )


def bend(latencies: Sequence[tuple[float, float]]) -> float | None:
    """The knee of mean end-to-end latencies by rising load.

    That is where load over mean end-to-end latency is largest, which Kleinrock calls power ("Power
    and deterministic rules of thumb for probabilistic problems in computer communications", ICC
    1979). Between points it is at the vertex of the parabola through the largest and its
    neighbours; None where the largest is at an end.
    """
    powers = [(rate, rate / latency) for rate, latency in latencies]
    best = max(range(len(powers)), key=lambda index: powers[index][1], default=0)
    if not 0 < best < len(powers) - 1:
        return None
    (x0, y0), (x1, y1), (x2, y2) = powers[best - 1 : best + 2]
    left, right = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    if left == right:
        return x1
    return min(max((x0 + x1) / 2 + left * (x2 - x0) / 2 / (left - right), x0), x2)


def capacity(model: ReplicaModel, traffic: Iterable[Arrival]) -> float:
    """Requests per second that one replica serves while there are always some waiting.

    Measured between a third and two thirds of a burst, where it neither fills nor empties.
    """
    count = max(_LEAST_BURST, _BURST * model.limits.max_num_seqs)
    burst = [arrival._replace(at=0.0) for arrival in islice(traffic, count)]
    ends = sorted(served.e2e for served in simulate(Fleet(model), burst).served)
    first, last = len(ends) // 3, 2 * len(ends) // 3
    if last == first or ends[last] == ends[first]:
        raise ValueError(f"{len(ends)} requests are too few to measure a capacity with")
    return (last - first) / (ends[last] - ends[first])

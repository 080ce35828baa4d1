"""One load: what clients measured, and what the simulation of the very same requests predicts."""

from collections.abc import Sequence
from typing import NamedTuple

from e2e.measured.client import Record
from plimsoll_planner.inputs import Objectives
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.load_curve import SHARES, bend, capacity
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_planner.simulation.simulator import Fleet, Window, simulate
from plimsoll_planner.simulation.summary import percentiles, summary
from plimsoll_planner.simulation.trace import at_rate

WARM_UP, TAIL = 0.1, 0.1
"""Shares of the requests that come before and after those that count."""


class Figures(NamedTuple):
    """What clients see. Seconds; `e2e` is the mean."""

    ttft_p50: float
    ttft_p95: float
    tpot_p50: float
    tpot_p95: float
    e2e: float


def window(count: int) -> Window:
    """Which of so many requests count."""
    skip = round(count * WARM_UP)
    return Window(skip, count - skip - round(count * TAIL))


def measured(records: Sequence[Record]) -> Figures:
    """Of those records that count. Raises ValueError where there are none."""
    part = window(len(records))
    counted = records[part.skip : part.skip + (part.count or 0)]
    ttft = percentiles([each.tokens[0] for each in counted])
    tpot = percentiles(
        [
            (each.tokens[-1] - each.tokens[0]) / (len(each.tokens) - 1)
            for each in counted
            if len(each.tokens) > 1
        ]
    )
    e2e = percentiles([each.tokens[-1] for each in counted])
    if ttft is None or tpot is None or e2e is None:
        raise ValueError(f"{len(records)} requests are too few")
    return Figures(ttft.p50, ttft.p95, tpot.p50, tpot.p95, e2e.mean)


def predicted(model: ReplicaModel, arrivals: Sequence[Arrival]) -> Figures:
    """The simulation of the same requests. Raises ValueError where none counts."""
    run = simulate(Fleet(model), arrivals, window(len(arrivals)))
    found = summary(run, Objectives())
    if found.ttft is None or found.tpot is None or found.e2e is None:
        raise ValueError(f"{len(arrivals)} requests are too few")
    return Figures(found.ttft.p50, found.ttft.p95, found.tpot.p50, found.tpot.p95, found.e2e.mean)


def expected_knee(replica: ReplicaModel, arrivals: Sequence[Arrival]) -> float:
    """Requests per second. Raises RuntimeError where the simulation finds none."""
    most = capacity(replica, arrivals)
    rates = [share * most for share in SHARES]
    found = bend([(rate, predicted(replica, at_rate(arrivals, rate)).e2e) for rate in rates])
    if found is None:
        raise RuntimeError(
            f"no knee below {rates[-1]:.3g} requests/s: {len(arrivals)} requests are too few"
        )
    return found

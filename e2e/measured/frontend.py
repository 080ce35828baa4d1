"""The frontend's seconds from probes and a rehearsal: what a replica is simulated with."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from e2e.measured.probes import ALONE, REPEATS, Probed
from e2e.measured.work import Work
from plimsoll_planner.calibration.frontend_fit import fit
from plimsoll_planner.performance.frontend_time import FrontendTime
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_planner.simulation.simulator import Fleet, simulate

ROUNDS = 3
"""What comes before a first token also changes which requests meet in a step."""


class Seen(NamedTuple):
    """A part of a rehearsal: its requests, and what clients waited for the first token of each."""

    arrivals: Sequence[Arrival]
    ttft: Sequence[float]


def frontend_time(probed: Probed, rehearsed: Sequence[Work] = ()) -> FrontendTime | None:
    """From CPU seconds; None where none were measured.

    CPU seconds do not tell which work for a request comes before its first token: as much as
    clients that come alone wait for. What they wait for beyond all work is latency.
    """
    if not probed.work:
        return None
    all_before = fit(each.of_both for each in (*probed.work, *rehearsed)).frontend
    lengths = [length for length in ALONE for _ in range(REPEATS)]
    return _waited(
        all_before,
        statistics.median(
            all_before.request + seconds - all_before.before_first_token(length)
            for length, seconds in zip(lengths, probed.request_seconds, strict=True)
        ),
    )


def under_traffic(replica: ReplicaModel, seen: Sequence[Seen]) -> ReplicaModel:
    """With as much before a first token as clients of a rehearsal waited for: processes that have
    just worked wake up sooner and work faster. Never more than of requests that come alone, so that
    an error of step times cannot make it longer."""
    if replica.frontend is None or not seen:
        return replica
    alone = replica.frontend.request + replica.frontend.latency
    for _ in range(ROUNDS):
        now = replica.frontend
        beyond = [
            measured - served.ttft
            for part in seen
            for served, measured in zip(
                simulate(Fleet(replica), part.arrivals).served, part.ttft, strict=True
            )
        ]
        waited = min(alone, now.request + now.latency + statistics.median(beyond))
        replica = replace(replica, frontend=_waited(now, waited))
    return replica


def _waited(time: FrontendTime, seconds: float) -> FrontendTime:
    """The same work, of which so much comes before a first token, with the latency."""
    work = time.request + time.end
    before = min(work, max(0.0, seconds))
    return replace(time, request=before, end=work - before, latency=max(0.0, seconds - work))

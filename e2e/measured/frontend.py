"""The frontend's seconds from probes and a rehearsal: what a replica is simulated with."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from e2e.measured.probes import ALONE, REPEATS, Probed
from e2e.measured.work import Work, fit
from plimsoll_planner.frontend_time import FrontendTime
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_planner.simulation.simulator import Fleet, simulate


class Seen(NamedTuple):
    """A part of a rehearsal: its requests, and what clients waited for the first token of each."""

    arrivals: Sequence[Arrival]
    ttft: Sequence[float]


def frontend_time(probed: Probed, rehearsed: Sequence[Work] = ()) -> FrontendTime | None:
    """From CPU seconds; None where none were measured.

    Of the work for a request, what comes after its last token is what clients that come alone wait
    for the end of their connection; the rest comes before the engine has it. `latency` is what
    those waited beyond all work before a first token.
    """
    if not probed.work:
        return None
    work = fit((*probed.work, *rehearsed))
    end = min(work.request, statistics.median(probed.closing_seconds))
    found = FrontendTime(work.request - end, work.prompt_token, work.step, work.event, end, 0.0)
    lengths = [length for length in ALONE for _ in range(REPEATS)]
    beyond = [
        seconds - found.before_first_token(length)
        for length, seconds in zip(lengths, probed.request_seconds, strict=True)
    ]
    return replace(found, latency=max(0.0, statistics.median(beyond)))


def under_traffic(replica: ReplicaModel, seen: Sequence[Seen]) -> ReplicaModel:
    """With the latency that clients of a rehearsal saw: processes that have just worked wake up
    sooner. Never more than of requests that come alone, so that no other error hides in it."""
    if replica.frontend is None or not seen:
        return replica
    alone = replica.frontend.latency
    at_once = replace(replica, frontend=replace(replica.frontend, latency=0.0))
    beyond = [
        measured - served.ttft
        for part in seen
        for served, measured in zip(
            simulate(Fleet(at_once), part.arrivals).served, part.ttft, strict=True
        )
    ]
    latency = min(alone, max(0.0, statistics.median(beyond)))
    return replace(replica, frontend=replace(replica.frontend, latency=latency))

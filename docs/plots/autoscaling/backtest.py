"""A trace through simulated replicas under a law of scaling, and what came of it."""

import math
import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, pairwise

from docs.plots.autoscaling.law import Law, ReplicaView, View
from plimsoll_operator.scaling.measurement import Counters
from plimsoll_operator.traces.metrics_snapshot import Histogram
from plimsoll_planner.inputs import Objectives
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.coarse import CoarseReplica
from plimsoll_planner.simulation.elastic import ElasticFleet, Pod, Server
from plimsoll_planner.simulation.replica import ReplicaModel, Served
from plimsoll_planner.simulation.summary import is_good
from plimsoll_runtime.core.buckets import GAPS, LATENCIES

STARTUP = (60.0, 120.0)
"""Seconds from asking for a replica to its first request: scheduling, container, weights, probe."""
DRAIN = 45.0
"""Seconds that a replica has to serve what it holds; what takes longer has not kept the promise."""


@dataclass(frozen=True)
class Case:
    """What is replayed on what: one replica has `accelerators`, `initial` of them begin ready."""

    trace: tuple[Arrival, ...]
    model: ReplicaModel
    objectives: Objectives
    accelerators: int
    initial: int
    max_replicas: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """`attainment` is the share of requests that kept every promise; `flaps` changes of direction.

    `counts` are (time, asked, ready) at each look.
    """

    attainment: float
    ttft_kept: float
    tpot_kept: float
    gpu_seconds: float
    flaps: int
    changes: int
    counts: tuple[tuple[float, int, int], ...]


class _Metrics:
    """What a replica counts since its start, in the buckets of the engine's own metrics."""

    def __init__(self) -> None:
        self.prompts, self.outputs = Histogram(), Histogram()
        self._first_token = [0] * (len(LATENCIES) + 1)
        self._per_token = [0] * (len(GAPS) + 1)

    def first_token(self, seconds: float) -> None:
        self._first_token[bisect_left(LATENCIES, seconds)] += 1

    def end(self, served: Served) -> None:
        for histogram, tokens in (
            (self.prompts, served.arrival.prompt_tokens),
            (self.outputs, served.arrival.output_tokens),
        ):
            histogram.count += 1
            histogram.total += tokens
        if served.tpot is not None:
            self._per_token[bisect_left(GAPS, served.tpot)] += 1

    def counters(self, unfinished: int) -> Counters:
        return Counters(
            replace(self.prompts),
            replace(self.outputs),
            _histogram(LATENCIES, self._first_token),
            _histogram(GAPS, self._per_token),
            unfinished,
        )


def _histogram(bounds: Sequence[float], counts: Sequence[int]) -> Histogram:
    found = Histogram(count=sum(counts))
    found.buckets.update(zip((*bounds, math.inf), accumulate(counts), strict=True))
    return found


def backtest(case: Case, law: Law, make: Callable[[float], Server] | None = None) -> Result:
    """Replays the case; `make` makes replicas, coarse ones if absent."""
    chance = random.Random("startup")  # noqa: S311
    times = [chance.uniform(*STARTUP) for _ in range(10_000)]
    fleet = ElasticFleet(
        make or (lambda at: CoarseReplica(case.model, at)), times.__getitem__, case.initial
    )
    run = _Run(case, fleet, law)
    tick = 0.0
    for number, arrival in enumerate(case.trace):
        while tick <= arrival.at:
            run.look(tick)
            tick += law.interval
        run.advance(arrival.at)
        fleet.receive(number, arrival)
    while tick <= case.seconds:
        run.look(tick)
        tick += law.interval
    run.advance(case.seconds + 36_000)
    return run.result()


class _Run:
    def __init__(self, case: Case, fleet: ElasticFleet, law: Law) -> None:
        self._case, self._fleet, self._law = case, fleet, law
        self._served: list[tuple[bool, bool, bool]] = []
        self._metrics: defaultdict[int, _Metrics] = defaultdict(_Metrics)
        self._ttfts: list[tuple[float, float]] = []
        self._tpots: list[tuple[float, float]] = []
        self._history: list[tuple[float, int, int]] = []

    def advance(self, now: float) -> None:
        for pod, served in self._fleet.advance(now):
            self._end(pod, served, now)
        for pod in self._fleet.pods:
            self._ttfts += [(now, ttft) for ttft in pod.server.first_tokens]
            for ttft in pod.server.first_tokens:
                self._metrics[pod.number].first_token(ttft)
            pod.server.first_tokens.clear()

    def _end(self, pod: Pod, served: Served, now: float) -> None:
        objectives = self._case.objectives
        good = is_good(served, objectives)
        cut = served.arrival.at + served.e2e > pod.deleted + DRAIN
        ttft = objectives.ttft_p95 is None or served.ttft <= objectives.ttft_p95
        self._served.append((good and not cut, ttft, good or not ttft))
        self._metrics[pod.number].end(served)
        if served.tpot is not None:
            self._tpots.append((now, served.tpot))

    def look(self, now: float) -> None:
        self.advance(now)
        wanted = self._fleet.wanted
        ready = tuple(self._view(pod) for pod in wanted if pod.serves(now))
        view = View(now, len(wanted), ready, self._ttfts, self._tpots)
        desired = max(1, min(self._case.max_replicas, self._law.desired(view)))
        self._fleet.scale(desired, now)
        self._history.append((now, desired, len(ready)))

    def _view(self, pod: Pod) -> ReplicaView:
        running, requests = pod.server.num_running, pod.server.num_requests
        return ReplicaView(
            str(pod.number),
            running,
            requests - running,
            pod.server.kv_cache_usage,
            partial(self._metrics[pod.number].counters, requests),
        )

    def result(self) -> Result:
        count = len(self._case.trace)
        # What never ended kept no promise.
        good, ttft, tpot = (sum(kept) / count for kept in zip(*self._served, strict=True))
        asked = [n for _, n, _ in self._history]
        moves = [b - a for a, b in pairwise(asked) if b != a]
        flaps = sum((a > 0) != (b > 0) for a, b in pairwise(moves))
        seconds = self._fleet.replica_seconds(self._case.seconds) * self._case.accelerators
        return Result(good, ttft, tpot, seconds, flaps, len(moves), tuple(self._history))


def thinned(trace: Sequence[Arrival], keep: Callable[[float], float], seed: str) -> list[Arrival]:
    """Each request with the probability that `keep` gives for its time."""
    chance = random.Random(seed)  # noqa: S311
    return [arrival for arrival in trace if chance.random() < keep(arrival.at)]

"""How many replicas there should be: a pure decision over what the engines report.

`demand` says how many are needed now. Replicas go up as soon as that is more for SCALE_UP_WINDOW,
and down only after fewer would have sufficed for the whole stabilization window. Both windows work
as in the HorizontalPodAutoscaler: the smallest recommendation of the short window bounds from
below, the largest of the long one from above.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from plimsoll_operator.scaling.demand import (
    Capacity,
    Demand,
    Traffic,
    observe,
    replicas_for,
    six_digits,
)
from plimsoll_operator.scaling.measurement import Counters
from plimsoll_operator.scaling.pace import Change, Pace, fewest, most

SCALE_UP_WINDOW = 8.0
"""Seconds for which more must have been needed: two samples, so that one blip scales nothing."""
STALE_AFTER = 30.0
"""Seconds after which a sample says nothing about now."""
ABSURD_REQUESTS = 1_000_000


@dataclass(frozen=True)
class Sample:
    """What one ready replica reported at `at` (seconds), or why it did not (`error`).

    `counters` are for comparing with the plan; None where the engine does not have them.
    """

    replica: str
    at: float
    running: float = 0.0
    waiting: float = 0.0
    kv_cache_usage: float = 0.0
    error: str = ""
    counters: Counters | None = None


@dataclass(frozen=True)
class Measured:
    """`current` counts all replicas that are asked for, `ready` those that serve."""

    samples: tuple[Sample, ...]
    current: int
    ready: int


@dataclass(frozen=True)
class Policy:
    """Bounds and pace; seconds. `schedule` is the one that the minimum is of, if any."""

    min_replicas: int
    max_replicas: int
    scale_down_stabilization: float
    schedule: str = ""
    pace: Pace = field(default_factory=Pace)

    @property
    def floor(self) -> str:
        """What to say of a schedule that holds."""
        if not self.schedule:
            return ""
        return f"; schedule {self.schedule}: at least {self.min_replicas} replicas"


@dataclass(frozen=True)
class Recommendation:
    """How many replicas were right at `at`."""

    at: float
    replicas: int


@dataclass(frozen=True)
class Memory:
    """What earlier decisions left: recommendations, oldest first, complete since `since`.

    `changes` of the count, whoever made them, led to `asked`, which was asked for last.
    """

    since: float | None = None
    recommendations: tuple[Recommendation, ...] = ()
    traffic: Traffic = field(default_factory=Traffic)
    changes: tuple[Change, ...] = ()
    asked: int | None = None


@dataclass(frozen=True)
class Basis:
    """What a decision follows from: the demand needs `wanted`, bounded; `lowest` and `highest` are
    the bounds from the windows, `current` the replicas that were asked for, `fewest` and `most`
    what the pace allows, None where it has no bound."""

    policy: Policy
    demand: Demand
    current: int
    wanted: int
    lowest: int
    highest: int
    fewest: int | None = None
    most: int | None = None


@dataclass(frozen=True)
class Decision:
    """`replicas` to have; `active` is False while held.

    `reason` is for machines, `message` for people; neither changes while the decision stays.
    `figures` says what it was decided on, and changes with every sample; so does `basis`, None
    while held.
    """

    replicas: int
    active: bool
    reason: str
    message: str
    memory: Memory
    figures: str = ""
    basis: Basis | None = None


def decide(
    measured: Measured, policy: Policy, capacity: Capacity, memory: Memory, now: float
) -> Decision:
    """How many replicas there should be, between the policy's bounds.

    Without a fresh and sane sample of every ready replica the count is held, within the bounds.
    """
    bounded = clamp(measured.current, policy)
    memory = _noting(memory, measured.current, policy, now)
    if policy.min_replicas == policy.max_replicas:
        message = f"minReplicas and maxReplicas are both {policy.min_replicas}{policy.floor}"
        return Decision(
            replicas=bounded, active=False, reason="FixedReplicas", message=message, memory=memory
        )
    flaw = _flaw(measured, now)
    if flaw is not None:
        # The time without knowledge counts as if all replicas had been needed.
        return Decision(
            replicas=bounded,
            active=False,
            reason=flaw[0],
            message=f"{flaw[1]}; the replica count is held{policy.floor}",
            memory=_remember(memory, bounded, policy, now),
        )
    samples = measured.samples
    counted = [(each.replica, each.counters) for each in samples if each.counters is not None]
    if len(counted) == len(samples):
        at = max(sample.at for sample in samples)
        waiting = sum(sample.waiting for sample in samples)
        traffic = observe(memory.traffic, counted, capacity, at, waiting)
        memory = replace(memory, traffic=traffic)
    demand = demand_of(samples, capacity, memory.traffic)
    wanted = clamp(replicas_for(demand, bounded), policy)
    memory = _remember(memory, wanted, policy, now)
    lowest, highest = _windows(memory, bounded, policy, now)
    bounds = pace_bounds(measured.current, policy, memory.changes, now)
    return Decision(
        replicas=paced(settled(bounded, lowest, highest), bounded, *bounds),
        active=True,
        reason="QueueMeasured",
        message=f"the queue of every ready replica is measured{policy.floor}",
        memory=memory,
        figures=_figures(demand) + policy.floor,
        basis=Basis(policy, demand, measured.current, wanted, lowest, highest, *bounds),
    )


def demand_of(samples: Sequence[Sample], capacity: Capacity, traffic: Traffic) -> Demand:
    """The demand that samples of all ready replicas show."""
    slots = capacity.max_num_seqs
    filled = sum(max(sample.running / slots, sample.kv_cache_usage) for sample in samples)
    # Samples without counters leave the traffic as it was.
    is_current = traffic.at == max(sample.at for sample in samples)
    rate = traffic.rate if is_current else None
    return Demand(
        running=six_digits(sum(sample.running for sample in samples)),
        waiting=six_digits(sum(sample.waiting for sample in samples)),
        filled=six_digits(filled),
        ready=len(samples),
        slots=slots,
        arrivals=None if rate is None else six_digits(rate),
        capacity=six_digits(capacity.requests_per_second),
        correction=six_digits(traffic.correction),
        standing=six_digits(traffic.standing) if is_current else 0.0,
    )


def settled(current: int, lowest: int, highest: int) -> int:
    """The count nearest to `current` between the bounds of both windows."""
    return lowest if current < lowest else highest if current > highest else current


def pace_bounds(
    current: int, policy: Policy, changes: Sequence[Change], now: float
) -> tuple[int | None, int | None]:
    """The fewest and the most that the pace allows from `current` on."""
    pace = policy.pace
    return fewest(pace, current, changes, now), most(pace, current, changes, now)


def paced(replicas: int, bounded: int, least: int | None, greatest: int | None) -> int:
    """`replicas` as far from `bounded` as the pace allows; the policy's bounds go before it."""
    if greatest is not None and replicas > bounded:
        return max(bounded, min(replicas, greatest))
    if least is not None and replicas < bounded:
        return min(bounded, max(replicas, least))
    return replicas


def _noting(memory: Memory, current: int, policy: Policy, now: float) -> Memory:
    """The memory with a change of the count since the look before."""
    horizon = now - policy.pace.horizon
    changes = tuple(each for each in memory.changes if horizon < each.at <= now)
    if policy.pace.horizon and memory.asked not in (None, current):
        changes = (*changes, Change(now, current - (memory.asked or 0)))
    return replace(memory, changes=changes, asked=current)


def _figures(demand: Demand) -> str:
    text = (
        f"{demand.running:g} requests run and {demand.waiting:g} wait; ready replicas: "
        f"{demand.ready}, each with {demand.slots} slots"
    )
    if demand.arrivals is not None and demand.capacity > 0:
        text += (
            f"; {demand.arrivals:.3g} requests/s arrive, and a replica carries "
            f"{demand.capacity:.3g} × {demand.correction:.2g}"
        )
    return text


def _flaw(measured: Measured, now: float) -> tuple[str, str] | None:
    """Why nothing can be decided, without figures that change from sample to sample."""
    samples = measured.samples
    if measured.ready == 0:
        return ("NoReadyReplica", "no replica is ready, so there is nothing to measure")
    if len(samples) < measured.ready:
        return ("MetricsPending", "a replica that has become ready is not measured yet")
    ordered = sorted(samples, key=lambda sample: sample.replica)
    return next((flaw for sample in ordered if (flaw := _flaw_of(sample, now))), None)


def _flaw_of(sample: Sample, now: float) -> tuple[str, str] | None:
    if sample.error:
        return ("MetricsMissing", f"no metrics from {sample.replica}: {sample.error}")
    if now - sample.at > STALE_AFTER:
        return ("MetricsStale", f"metrics of {sample.replica} are older than {STALE_AFTER:g} s")
    counts = (sample.running, sample.waiting)
    if not all(math.isfinite(count) and 0 <= count <= ABSURD_REQUESTS for count in counts):
        return ("MetricsAbsurd", f"{sample.replica} reports impossible request counts")
    if not (math.isfinite(sample.kv_cache_usage) and 0 <= sample.kv_cache_usage <= 1.01):
        return ("MetricsAbsurd", f"{sample.replica} reports an impossible KV cache usage")
    if sample.counters is not None and not sample.counters.possible:
        return ("MetricsAbsurd", f"{sample.replica} reports impossible counts")
    return None


def _remember(memory: Memory, replicas: int, policy: Policy, now: float) -> Memory:
    horizon = now - max(policy.scale_down_stabilization, SCALE_UP_WINDOW)
    # A clock that was set back leaves recommendations from the future behind.
    kept = [item for item in memory.recommendations if horizon <= item.at <= now]
    if len(kept) >= 2 and kept[-1].replicas == kept[-2].replicas == replicas:
        kept.pop()
    since = now if memory.since is None or memory.since > now else memory.since
    kept.append(Recommendation(now, replicas))
    return replace(memory, since=since, recommendations=tuple(kept))


def _windows(memory: Memory, current: int, policy: Policy, now: float) -> tuple[int, int]:
    """The least and the most that there may be; no fewer than now until the long window is full."""
    recommendations = memory.recommendations
    lowest = min(item.replicas for item in recommendations if item.at > now - SCALE_UP_WINDOW)
    highest = max(item.replicas for item in recommendations)
    covered = memory.since is not None and now - memory.since >= policy.scale_down_stabilization
    return lowest, highest if covered else max(highest, current)


def clamp(replicas: int, policy: Policy) -> int:
    """The nearest count that the policy allows."""
    return max(policy.min_replicas, min(policy.max_replicas, replicas))

"""How many replicas the queue needs: a pure decision over what the engines report.

Every replica reports the requests that it runs and those that wait. A replica carries at most the
plan's `max_num_seqs` at once within the SLO, or fewer where its KV cache is full. Replicas go up
as soon as requests wait that those present (starting ones included) cannot take, and down only
after fewer would have sufficed, with headroom, for the whole stabilization window. Both windows
work as in the HorizontalPodAutoscaler: the smallest recommendation of the short window bounds from
below, the largest of the long one from above.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from plimsoll_operator.measurement import Counters

HEADROOM = 0.7
"""Share of its capacity that a remaining replica may be used to before fewer suffice."""
WAITING_TOLERANCE = 0.1
"""Waiting requests per slot that pass for arrivals between two steps, not for a queue."""
CARRIED_FLOOR = 0.25
"""Share of its slots that a replica is taken to fill at least, however little runs right now."""
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
    """Bounds and pace; seconds."""

    min_replicas: int
    max_replicas: int
    scale_down_stabilization: float


@dataclass(frozen=True)
class Recommendation:
    """How many replicas were right at `at`."""

    at: float
    replicas: int


@dataclass(frozen=True)
class Memory:
    """What earlier decisions left: recommendations, oldest first, complete since `since`."""

    since: float | None = None
    recommendations: tuple[Recommendation, ...] = ()


@dataclass(frozen=True)
class Decision:
    """`replicas` to have; `active` is False while held.

    `reason` is for machines, `message` for people; neither changes while the decision stays.
    `figures` says what it was decided on, and changes with every sample.
    """

    replicas: int
    active: bool
    reason: str
    message: str
    memory: Memory
    figures: str = ""


def decide(
    measured: Measured, policy: Policy, max_num_seqs: int, memory: Memory, now: float
) -> Decision:
    """How many replicas there should be, between the policy's bounds.

    Without a fresh and sane sample of every ready replica the count is held, within the bounds.
    """
    bounded = _clamp(measured.current, policy)
    if policy.min_replicas == policy.max_replicas:
        message = f"minReplicas and maxReplicas are both {policy.min_replicas}"
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
            message=f"{flaw[1]}; the replica count is held",
            memory=_remember(memory, bounded, policy, now),
        )
    recommended = _clamp(recommend(measured.samples, max_num_seqs, bounded), policy)
    memory = _remember(memory, recommended, policy, now)
    return Decision(
        replicas=_stabilize(bounded, memory, policy, now),
        active=True,
        reason="QueueMeasured",
        message="the queue of every ready replica is measured",
        memory=memory,
        figures=_figures(measured.samples, max_num_seqs),
    )


def recommend(samples: Sequence[Sample], max_num_seqs: int, current: int) -> int:
    """Replicas for this moment alone, at least 1; never fewer for more that waits."""
    running = sum(sample.running for sample in samples)
    waiting = sum(sample.waiting for sample in samples)
    used = sum(max(sample.running / max_num_seqs, sample.kv_cache_usage) for sample in samples)
    enough = max(1, math.ceil(used / HEADROOM))
    recommended = min(current, enough)
    if waiting > WAITING_TOLERANCE * max_num_seqs * len(samples):
        # Where the KV cache or the token budget is full, a replica carries fewer sequences than
        # it has slots; the floor keeps a burst that no step has seen yet from counting as that.
        floor = max(1.0, CARRIED_FLOOR * max_num_seqs)
        carried = max(floor, min(float(max_num_seqs), running / len(samples)))
        needed = math.ceil((running + waiting) / carried)
        recommended = max(recommended, needed, len(samples) + 1)
    return recommended


def _figures(samples: Sequence[Sample], max_num_seqs: int) -> str:
    running = sum(sample.running for sample in samples)
    waiting = sum(sample.waiting for sample in samples)
    return (
        f"{running:g} requests run and {waiting:g} wait; ready replicas: {len(samples)}, "
        f"each with {max_num_seqs} slots"
    )


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
    return None


def _remember(memory: Memory, replicas: int, policy: Policy, now: float) -> Memory:
    horizon = now - max(policy.scale_down_stabilization, SCALE_UP_WINDOW)
    # A clock that was set back leaves recommendations from the future behind.
    kept = [item for item in memory.recommendations if horizon <= item.at <= now]
    if len(kept) >= 2 and kept[-1].replicas == kept[-2].replicas == replicas:
        kept.pop()
    since = now if memory.since is None or memory.since > now else memory.since
    return Memory(since=since, recommendations=(*kept, Recommendation(now, replicas)))


def _stabilize(current: int, memory: Memory, policy: Policy, now: float) -> int:
    recommendations = memory.recommendations
    recent = [item.replicas for item in recommendations if item.at > now - SCALE_UP_WINDOW]
    lower = min(recent)
    upper = max(item.replicas for item in recommendations)
    covered = memory.since is not None and now - memory.since >= policy.scale_down_stabilization
    if current < lower:
        return lower
    if current > upper and covered:
        return upper
    return current


def _clamp(replicas: int, policy: Policy) -> int:
    return max(policy.min_replicas, min(policy.max_replicas, replicas))

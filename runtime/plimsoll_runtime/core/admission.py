"""Whether a request is taken in: a queue with bounds, and a wait that is predicted.

Pure. Everything is decided from a snapshot that the engine gives of itself, so the decision can be
made in another process than the engine's.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.limits import LiveLimits
from plimsoll_runtime.core.queue import QueueCount

MAX_RETRY_AFTER = 600
"""Seconds; predictions beyond say no more than "much later"."""


class Load(NamedTuple):
    """What the engine has to do, and how fast it has been lately.

    `waiting` counts every sequence that has no place yet. `mean_output_tokens` are of sequences
    that ended, `mean_output_steps` the steps in which these came, as many where nothing else is
    told, `seconds_per_step` are of the latest steps; None until there are any.
    """

    limits: LiveLimits
    block_size: int
    num_running: int
    waiting: tuple[QueueCount, ...]
    mean_output_tokens: float | None
    seconds_per_step: float | None
    mean_output_steps: float | None = None


class Demand(NamedTuple):
    """The sequences of one HTTP request, `num_tokens` of prompt in sum.

    `max_wait` is how long its client is ready to wait for a place, in seconds; None: any time.
    """

    tenant: str
    priority: int
    num_sequences: int
    num_tokens: int
    max_wait: float | None = None


@dataclass(frozen=True)
class AdmissionRules:
    """`max_queue_len` sequences may wait; `max_queue_wait` seconds are the server's objective.

    Under policies that know tenants, one that has less than its part of the queue may still
    enter when it is full: a tenant that floods it must not lock the others out. Policy and
    weights are the scheduler's.
    """

    max_queue_len: int
    max_queue_wait: float | None = None
    policy: SchedulingPolicy = SchedulingPolicy.FAIR
    tenant_weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_queue_len < 1:
            raise ValueError(f"max_queue_len must be at least 1, not {self.max_queue_len}")
        wait = self.max_queue_wait
        if wait is not None and not 0 < wait < math.inf:
            raise ValueError(f"max_queue_wait must be above 0 seconds, not {wait}")
        for tenant, weight in self.tenant_weights.items():
            if not 0 < weight < math.inf:
                raise ValueError(f"the weight of tenant {tenant!r} must be above 0, not {weight}")


class Reason(StrEnum):
    """Why a request is turned away."""

    QUEUE_FULL = "queue_full"
    QUEUE_WAIT = "queue_wait"
    TOO_MANY = "too_many"
    DRAINING = "draining"


class Rejection(NamedTuple):
    """`retry_after` is in whole seconds, at least 1; `predicted_wait` in seconds."""

    reason: Reason
    retry_after: int
    predicted_wait: float


class Ahead(NamedTuple):
    """What is admitted before a request: sequences, and the tokens of their prompts."""

    num_sequences: float
    num_tokens: float


def judge(load: Load, demand: Demand, rules: AdmissionRules) -> Rejection | None:
    """None when the request may enter. One that finds nobody waiting always fits the queue."""
    wait = predicted_wait(load, demand, rules)
    total = sum(each.num_requests for each in load.waiting)
    if total + demand.num_sequences > rules.max_queue_len and _is_over_its_part(
        load, demand, rules
    ):
        # The time until as many have left the queue as want to enter.
        part = min(1.0, demand.num_sequences / max(1, total))
        return Rejection(Reason.QUEUE_FULL, retry_after(wait * part), wait)
    limits = [each for each in (rules.max_queue_wait, demand.max_wait) if each is not None]
    if limits and wait > min(limits):
        return Rejection(Reason.QUEUE_WAIT, retry_after(wait - min(limits)), wait)
    return None


def retry_after(seconds: float) -> int:
    """Whole seconds, rounded up, from 1 to MAX_RETRY_AFTER."""
    return max(1, math.ceil(min(seconds, MAX_RETRY_AFTER)))


def predicted_wait(load: Load, demand: Demand, rules: AdmissionRules) -> float:
    """Seconds until the request's last sequence has a place; 0 while nothing was measured.

    Counted in steps: those that compute the prompts ahead with what running sequences leave of
    the token budget, and those until enough places are given back. With S places and answers of O
    steps, a place is given back every O/S steps. A step takes as long as the latest did.
    """
    if load.seconds_per_step is None:
        return 0.0
    ahead = queue_ahead(load, demand, rules)
    budget = load.limits.max_num_batched_tokens - load.num_running
    steps = ahead.num_tokens / max(1, budget)
    if load.mean_output_tokens is not None:
        places = _places(load, demand, load.mean_output_tokens)
        missing = ahead.num_sequences + demand.num_sequences - max(0, places - load.num_running)
        output_steps = load.mean_output_steps or load.mean_output_tokens
        steps += max(0.0, missing) * output_steps / places
    return steps * load.seconds_per_step


def queue_ahead(load: Load, demand: Demand, rules: AdmissionRules) -> Ahead:
    """What of the queue comes before the request, by policy.

    Among tenants that share, its own tenant's requests of the same or a smaller priority do, and
    of every other tenant's as many as that one's share is worth until then: with equal weights no
    more than of its own and one.
    """
    if rules.policy is SchedulingPolicy.FCFS:
        return _sum(load.waiting)
    certain, peers = _sum(()), load.waiting
    if rules.policy is SchedulingPolicy.PRIORITY:
        certain = _sum([each for each in load.waiting if each.priority < demand.priority])
        peers = tuple(each for each in load.waiting if each.priority == demand.priority)
    mine = _sum(
        [
            each
            for each in peers
            if each.tenant == demand.tenant and each.priority <= demand.priority
        ]
    )
    sequences = certain.num_sequences + mine.num_sequences
    tokens = certain.num_tokens + mine.num_tokens
    turns = mine.num_sequences + demand.num_sequences
    weight = rules.tenant_weights.get(demand.tenant, 1.0)
    for tenant, theirs in _by_tenant(peers):
        if tenant != demand.tenant:
            share = turns * rules.tenant_weights.get(tenant, 1.0) / weight
            part = min(1.0, share / theirs.num_sequences)
            sequences += part * theirs.num_sequences
            tokens += part * theirs.num_tokens
    return Ahead(sequences, tokens)


def _is_over_its_part(load: Load, demand: Demand, rules: AdmissionRules) -> bool:
    if rules.policy is SchedulingPolicy.FCFS:
        return bool(load.waiting)
    tenants = {each.tenant for each in load.waiting}
    own = sum(each.num_requests for each in load.waiting if each.tenant == demand.tenant)
    part = rules.max_queue_len // len(tenants | {demand.tenant})
    return own > 0 and own + demand.num_sequences > part


def _places(load: Load, demand: Demand, mean_output_tokens: float) -> float:
    """Sequences that run at once: as many as may, or as the KV cache holds of the usual length.

    Those that run now show that it holds as many, if they share prefixes for example.
    """
    all_waiting = _sum(load.waiting)
    count = all_waiting.num_sequences + demand.num_sequences
    length = (all_waiting.num_tokens + demand.num_tokens) / count + mean_output_tokens
    held = load.limits.num_usable_blocks * load.block_size / length
    return max(1.0, load.num_running, min(load.limits.max_num_seqs, held))


def _sum(counts: Sequence[QueueCount]) -> Ahead:
    return Ahead(sum(each.num_requests for each in counts), sum(each.num_tokens for each in counts))


def _by_tenant(counts: Sequence[QueueCount]) -> Iterator[tuple[str, Ahead]]:
    for tenant in {each.tenant: None for each in counts}:
        yield tenant, _sum([each for each in counts if each.tenant == tenant])

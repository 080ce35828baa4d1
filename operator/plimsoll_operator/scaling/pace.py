"""How fast the count of replicas may change: pure, with the meaning that an HPA's policies have.

A policy bounds the change since the start of its period, which is now less `seconds`; what was
added and taken away meanwhile tells how many replicas there were then.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from plimsoll_operator.api.behavior import PolicyType, ScalingPolicy, ScalingRules, SelectPolicy


@dataclass(frozen=True)
class Change:
    """The count changed `by` so many at `at`, in seconds."""

    at: float
    by: int


@dataclass(frozen=True)
class Pace:
    """The rules in both directions."""

    up: ScalingRules = field(default_factory=ScalingRules)
    down: ScalingRules = field(default_factory=ScalingRules)

    @property
    def horizon(self) -> float:
        """Seconds for which changes count."""
        periods = [each.period_seconds for each in (*self.up.policies, *self.down.policies)]
        return float(max(periods, default=0))


def most(pace: Pace, current: int, changes: Sequence[Change], now: float) -> int | None:
    """The most replicas that there may be now, at least `current`; None where there is no bound."""
    if pace.up.select_policy is SelectPolicy.DISABLED:
        return current
    allowed = [
        start + each.value
        if each.type is PolicyType.PODS
        else -(-start * (100 + each.value) // 100)
        for each, start in _starts(pace.up, current, changes, now)
    ]
    if not allowed:
        return None
    loosest = pace.up.select_policy is SelectPolicy.MAX
    return max(current, max(allowed) if loosest else min(allowed))


def fewest(pace: Pace, current: int, changes: Sequence[Change], now: float) -> int | None:
    """The fewest replicas that there may be now, at most `current`; None as above."""
    if pace.down.select_policy is SelectPolicy.DISABLED:
        return current
    allowed = [
        start - each.value if each.type is PolicyType.PODS else start * (100 - each.value) // 100
        for each, start in _starts(pace.down, current, changes, now)
    ]
    if not allowed:
        return None
    loosest = pace.down.select_policy is SelectPolicy.MAX
    return min(current, max(0, min(allowed) if loosest else max(allowed)))


def _starts(
    rules: ScalingRules, current: int, changes: Sequence[Change], now: float
) -> list[tuple[ScalingPolicy, int]]:
    """Each policy with the replicas that there were when its period began."""
    starts = []
    for each in rules.policies:
        since = now - each.period_seconds
        starts.append((each, current - sum(change.by for change in changes if change.at > since)))
    return starts

"""The pace against a model of the HPA's documented algorithm, and through whole decisions."""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.api.behavior import ScalingRules
from plimsoll_operator.api.status import ScalingDecision
from plimsoll_operator.reports.scaling_report import scaling_report
from plimsoll_operator.scaling.autoscale import (
    Basis,
    Measured,
    Memory,
    Policy,
    Sample,
    clamp,
    decide,
    pace_bounds,
    paced,
    settled,
)
from plimsoll_operator.scaling.changes import changes_in
from plimsoll_operator.scaling.demand import Capacity, Demand
from plimsoll_operator.scaling.pace import Change, Pace, fewest, most
from plimsoll_operator.scaling.record import again, record
from tests.unit.plimsoll_operator.samples import resource

WHEN = "2026-11-21T14:00:00Z"


def rules(*policies: tuple[str, int, int], select: str = "Max") -> ScalingRules:
    found = [{"type": kind, "value": n, "periodSeconds": s} for kind, n, s in policies]
    return ScalingRules.model_validate({"selectPolicy": select, "policies": found})


@dataclass
class Hpa:
    """The HPA's own account: a list of what it added and one of what it took away.

    As in the Kubernetes documentation: "Scaling policies" of "Horizontal Pod Autoscaling".
    """

    up: ScalingRules
    down: ScalingRules
    added: list[tuple[float, int]] = field(default_factory=list)
    taken: list[tuple[float, int]] = field(default_factory=list)

    def next(self, current: int, desired: int, now: float, low: int, high: int) -> int:
        if current > high:
            allowed = high
        elif current < low:
            allowed = low
        elif desired > current:
            allowed = min(desired, high, max(current, self.up_limit(current, now)))
        else:
            allowed = max(desired, low, min(current, self.down_limit(current, now)))
        if allowed > current:
            self.added.append((now, allowed - current))
        if allowed < current:
            self.taken.append((now, current - allowed))
        return allowed

    def up_limit(self, current: int, now: float) -> int:
        if self.up.select_policy == "Disabled":
            return current
        limits = []
        for policy in self.up.policies:
            start = self.start(current, policy.period_seconds, now)
            if policy.type == "Pods":
                limits.append(start + policy.value)
            else:
                limits.append(math.ceil(start * (1 + Fraction(policy.value, 100))))
        if not limits:
            return 10**9
        return max(limits) if self.up.select_policy == "Max" else min(limits)

    def down_limit(self, current: int, now: float) -> int:
        if self.down.select_policy == "Disabled":
            return current
        limits = []
        for policy in self.down.policies:
            start = self.start(current, policy.period_seconds, now)
            if policy.type == "Pods":
                limits.append(start - policy.value)
            else:
                limits.append(math.floor(start * (1 - Fraction(policy.value, 100))))
        if not limits:
            return 0
        return min(limits) if self.down.select_policy == "Max" else max(limits)

    def start(self, current: int, period: float, now: float) -> int:
        added = sum(count for at, count in self.added if at > now - period)
        taken = sum(count for at, count in self.taken if at > now - period)
        return current - added + taken


policies = st.lists(
    st.tuples(st.sampled_from(["Pods", "Percent"]), st.integers(1, 150), st.integers(1, 60)),
    max_size=3,
)
some_rules = st.builds(
    lambda found, select: rules(*found, select=select),
    policies,
    st.sampled_from(["Max", "Min", "Disabled"]),
)


@settings(max_examples=60, deadline=None)
@given(
    some_rules,
    some_rules,
    st.integers(0, 30),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=1, max_size=20),
)
def test_as_the_hpa_does_it(
    up: ScalingRules, down: ScalingRules, current: int, steps: list[tuple[int, int]]
) -> None:
    hpa, pace, changes, now = Hpa(up, down), Pace(up, down), [], 0.0
    policy = Policy(2, 25, 0, pace=pace)
    for desired, seconds in steps:
        now += seconds
        bounded, wanted = clamp(current, policy), clamp(desired, policy)
        ours = paced(wanted, bounded, *pace_bounds(current, policy, changes, now))
        if current != bounded:
            ours = bounded  # an HPA goes on from there at its next look
        assert ours == hpa.next(current, desired, now, 2, 25)
        changes = [each for each in changes if each.at > now - pace.horizon]
        changes.append(Change(now, ours - current))
        current = ours


@pytest.mark.parametrize(
    ("found", "allowed"),
    [
        (rules(("Pods", 4, 60)), 14),
        (rules(("Percent", 10, 60)), 11),  # not 12, as 10 × 1.1 is in binary fractions
        (rules(("Percent", 1, 60)), 11),
        (rules(("Pods", 4, 60), ("Percent", 100, 60)), 20),
        (rules(("Pods", 4, 60), ("Percent", 100, 60), select="Min"), 14),
        (rules(("Pods", 4, 60), select="Disabled"), 10),
        (rules(), None),
        (rules(select="Disabled"), 10),
    ],
)
def test_examples_upwards(found: ScalingRules, allowed: int | None) -> None:
    assert most(Pace(up=found), 10, (), 100) == allowed


@pytest.mark.parametrize(
    ("found", "allowed"),
    [
        (rules(("Pods", 4, 60)), 6),
        (rules(("Percent", 10, 60)), 9),
        (rules(("Percent", 1, 60)), 9),
        (rules(("Pods", 4, 60), ("Percent", 10, 60)), 6),
        (rules(("Pods", 4, 60), ("Percent", 10, 60), select="Min"), 9),
        (rules(("Percent", 150, 60)), 0),
        (rules(("Pods", 4, 60), select="Disabled"), 10),
        (rules(), None),
    ],
)
def test_examples_downwards(found: ScalingRules, allowed: int | None) -> None:
    assert fewest(Pace(down=found), 10, (), 100) == allowed


def test_changes_count_for_the_period() -> None:
    pace = Pace(up=rules(("Pods", 4, 60)), down=rules(("Pods", 4, 60)))
    changes = (Change(0, 3),)
    assert most(pace, 10, changes, 59) == 11
    assert fewest(pace, 10, changes, 59) == 3
    assert most(pace, 10, changes, 60) == 14
    # What went beyond the pace by other hands allows nothing more, and is not taken back.
    assert most(pace, 10, (Change(0, 9),), 59) == 10


def look(memory: Memory, current: int, now: float, waiting: float, policy: Policy) -> Any:
    samples = tuple(Sample(f"pod-{i}", now, 8, waiting / current) for i in range(current))
    return decide(Measured(samples, current, current), policy, Capacity(8), memory, now)


def test_decisions_keep_the_pace_and_are_recomputed() -> None:
    policy = Policy(1, 20, 0, pace=Pace(rules(("Pods", 2, 60)), rules(("Pods", 1, 60))))
    memory, current, counts = Memory(), 2, []
    for tick in range(40):
        decision = look(memory, current, tick * 5.0, 500, policy)
        memory = decision.memory
        assert decision.basis is not None
        kept = record(decision.basis, decision.replicas, WHEN)
        read = ScalingDecision.model_validate_json(kept.model_dump_json(by_alias=True))
        assert again(read) == (read.wanted, decision.replicas)
        current = decision.replicas
        counts.append(current)
    # By 2 within any minute, after the 8 s for which more must have been needed.
    assert [counts[tick] for tick in (0, 1, 2, 13, 14, 26, 39)] == [4, 4, 4, 6, 6, 8, 10]


def test_bounds_go_before_the_pace() -> None:
    slow = Pace(rules(("Pods", 1, 60)), rules(select="Disabled"))
    above = look(Memory(), 9, 0.0, 0, Policy(1, 5, 0, pace=slow))
    below = look(Memory(), 2, 0.0, 500, Policy(4, 9, 0, pace=slow))
    assert (above.replicas, below.replicas) == (5, 4)


def test_a_restart_knows_what_was_changed() -> None:
    basis = Basis(Policy(1, 9, 0), Demand(1, 0, 1, 1, 8), 3, 5, 5, 5)
    kept = [
        record(basis, 5, "2026-11-21T13:59:30Z"),
        record(basis, 5, "2026-11-21T13:59:50Z", held=4),
        record(basis, 5, "yesterday"),
    ]
    today = datetime(2026, 11, 21, 14, tzinfo=UTC)
    assert changes_in(kept, today, 1000.0) == (Change(970.0, 2), Change(990.0, 1))


def test_explain_says_what_the_pace_allowed() -> None:
    basis = Basis(Policy(1, 20, 0), Demand(8, 90, 1, 1, 8), 2, 13, 13, 13, None, 4)
    assert settled(2, 13, 13) == 13
    found = resource()
    status = found.status.model_copy(update={"scaling": [record(basis, 4, WHEN)]})
    told = " ".join(scaling_report(type(found)(**{**vars(found), "status": status})).split())
    assert "2 → 4" in told
    assert "behavior.scaleUp allows 4 (✓ the same again)" in told

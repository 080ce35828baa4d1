"""Replicas stay within their bounds, and who decides on them is said."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.actions import Apply
from plimsoll_operator.plans.choice import Standing, Trouble
from plimsoll_operator.resource import parse_resource
from plimsoll_operator.scaling.autoscale import Basis, Policy
from plimsoll_operator.scaling.demand import Demand
from plimsoll_operator.scaling.record import again
from tests.unit.plimsoll_operator.samples import (
    FEASIBLE,
    INFEASIBLE,
    Cell,
    condition,
    cpu_plan,
    raw_resource,
    scaled_to,
)


@pytest.mark.parametrize("mode", ["Automatic", "External"])
@pytest.mark.parametrize(
    ("refused", "cause"),
    [
        (Standing(feasibility=INFEASIBLE), "its SLO cannot hold"),
        (Standing(trouble=Trouble("ModelConfigUnavailable", "x")), "ModelConfigUnavailable"),
    ],
)
def test_scaling_is_said_to_be_held_while_an_edit_is_not_applied(
    refused: Standing, cause: str, mode: str
) -> None:
    cell = Cell(raw_resource(spec={"scaling": {"minReplicas": 1, "maxReplicas": 4}}))
    cell.settle(FEASIBLE, scaled_to(3))
    cell.edit(scaling={"minReplicas": 1, "maxReplicas": 4, "mode": mode}, replicas=1)
    outcome = cell.step(refused)
    scaling = condition(cell, "AutoscalingActive")
    assert (scaling["status"], scaling["reason"]) == ("False", "NotApplied")
    assert "held at 3" in scaling["message"]
    assert cause in scaling["message"]
    # The cause has an event of its own.
    assert "ScalingHeld" not in [event.reason for event in outcome.events]
    assert cell.world.children["Deployment", "chat"]["spec"]["replicas"] == 3


def test_scaling_is_not_said_to_be_held_where_nothing_runs() -> None:
    cell = Cell(raw_resource())
    cell.step(Standing(feasibility=INFEASIBLE))
    assert condition(cell, "AutoscalingActive")["reason"] == "NotRunning"


@given(
    low=st.integers(1, 50),
    more=st.integers(0, 50),
    planned=st.integers(0, 200),
    decided=st.none() | st.integers(0, 200),
    asked=st.none() | st.integers(0, 200),
    mode=st.sampled_from(["Automatic", "External"]),
)
def test_replicas_stay_within_bounds(
    low: int, more: int, planned: int, decided: int | None, asked: int | None, mode: str
) -> None:
    spec: dict[str, Any] = {
        "scaling": {"minReplicas": low, "maxReplicas": low + more, "mode": mode}
    }
    if asked is not None:
        spec["replicas"] = asked
    cell = Cell(raw_resource(spec=spec))
    standing = Standing(plan=cpu_plan(replicas=planned), inputs="a")
    decision = None if decided is None else scaled_to(decided)
    for _ in range(2):
        cell.step(standing, decision)
        replicas = cell.world.children["Deployment", "chat"]["spec"]["replicas"]
        assert low <= replicas <= low + more
    if mode == "External" and asked is not None:
        assert replicas == max(low, min(low + more, asked))


EXTERNAL = {"scaling": {"mode": "External", "minReplicas": 1, "maxReplicas": 9}}


def test_an_autoscaler_outside_takes_over_at_what_the_plan_needs() -> None:
    cell = Cell(raw_resource(spec=EXTERNAL))
    outcome = cell.step(Standing(plan=cpu_plan(replicas=3), inputs="a"))
    assert cell.world.children["Deployment", "chat"]["spec"]["replicas"] == 3
    assert outcome.scale == 3
    cell.edit(replicas=outcome.scale)
    assert cell.step(Standing(plan=cpu_plan(replicas=3), inputs="a")).scale is None


def test_an_autoscaler_outside_takes_over_at_what_runs() -> None:
    cell = Cell(raw_resource(spec={"scaling": {"minReplicas": 1, "maxReplicas": 9}}))
    cell.settle(FEASIBLE, scaled_to(5))
    cell.edit(**EXTERNAL)
    outcome = cell.step(FEASIBLE)
    assert outcome.scale == 5
    assert outcome.actions == ()


def test_spec_replicas_is_written_for_nobody_else() -> None:
    for spec in ({}, {**EXTERNAL, "replicas": 0}, {**EXTERNAL, "replicas": 4}):
        assert Cell(raw_resource(spec=spec)).step(FEASIBLE).scale is None
    external = Cell(raw_resource(spec=EXTERNAL))
    assert external.step(Standing(feasibility=INFEASIBLE)).scale is None
    assert external.step(Standing(trouble=Trouble("PlanningFailed", "no"))).scale is None


def test_scaling_leaves_ready_alone_and_is_told_once() -> None:
    cell = Cell(raw_resource(spec={"scaling": {"minReplicas": 1, "maxReplicas": 4}}))
    cell.settle(FEASIBLE, scaled_to(1))
    outcome = cell.step(FEASIBLE, scaled_to(3))
    assert [action.because for action in outcome.actions if isinstance(action, Apply)] == [
        ".spec.replicas"
    ]
    assert [event.reason for event in outcome.events] == ["Scaled"]
    assert "from 1 to 3" in outcome.events[0].message
    assert condition(cell, "Ready")["status"] == "True"
    # The Deployment's controller has not even looked yet.
    assert cell.step(FEASIBLE, scaled_to(3)).events == ()
    assert condition(cell, "Ready")["status"] == "True"
    cell.world.roll_out()
    cell.step(FEASIBLE, scaled_to(3))
    assert cell.raw["status"]["readyReplicas"] == 3


def test_a_new_plan_starts_with_what_it_needs_but_never_with_less_than_runs() -> None:
    cell = Cell(raw_resource(spec={"scaling": {"minReplicas": 1, "maxReplicas": 9}}))
    cell.settle(FEASIBLE, scaled_to(1))
    cell.edit()
    cell.settle(Standing(plan=cpu_plan(revision="b", replicas=5), inputs="b"), scaled_to(1))
    # Afterwards the autoscaler may go down again.
    assert cell.world.children["Deployment", "chat"]["spec"]["replicas"] == 1
    cell.edit()
    cell.step(Standing(plan=cpu_plan(revision="c", replicas=4), inputs="c"), scaled_to(1))
    assert cell.world.children["Deployment", "chat"]["spec"]["replicas"] == 4


def test_a_change_of_replicas_is_kept_in_the_status_once() -> None:
    cell = Cell(raw_resource(spec={"scaling": {"minReplicas": 1, "maxReplicas": 4}}))
    cell.settle(FEASIBLE, scaled_to(1))
    demand = Demand(running=8, waiting=0, filled=1, ready=1, slots=8, arrivals=5, capacity=2)
    basis = Basis(Policy(1, 4, 300), demand, current=1, wanted=3, lowest=3, highest=3)
    cell.settle(FEASIBLE, replace(scaled_to(3), basis=basis))
    cell.settle(FEASIBLE, replace(scaled_to(3), basis=replace(basis, current=3)))
    (kept,) = parse_resource(cell.raw).status.scaling
    assert (kept.current, kept.replicas, kept.requests_per_second) == (1, 3, "5")
    assert again(kept) == (3, 3)

"""The status says what is in force, and what serves keeps serving."""

import pytest

from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.plans.choice import Standing, Trouble, standing
from plimsoll_operator.resource import parse_resource
from tests.unit.plimsoll_operator.samples import (
    FEASIBLE,
    INFEASIBLE,
    LATER,
    Cell,
    condition,
    cpu_plan,
    gpu_plan,
    raw_resource,
)

TOO_WIDE = gpu_plan(tensor_parallel_size=16, summary="H200×16 bs64")


def planned(cell: Cell, plan: PlanStatus) -> Standing:
    """What stands after the planner has answered with that plan."""
    return standing(parse_resource(cell.raw), plan.summary, plan, None, best_effort=False)


def test_infeasible_starts_nothing() -> None:
    cell = Cell(raw_resource())
    outcome = cell.step(Standing(feasibility=INFEASIBLE))
    assert outcome.actions == ()
    assert "plan" not in cell.raw["status"]
    feasible = condition(cell, "SLOFeasible")
    assert (feasible["status"], feasible["reason"]) == ("False", "Refused")
    assert "TTFT p95 640ms is above 1ms" in feasible["message"]
    assert "slo.timeToFirstToken.p95: 640ms" in feasible["message"]
    assert cell.raw["status"]["feasibility"]["alternatives"]
    assert condition(cell, "Ready")["status"] == "False"
    assert condition(cell, "Stalled")["status"] == "True"
    assert [event.reason for event in outcome.events] == ["Infeasible"]
    again = cell.step(Standing(feasibility=INFEASIBLE), now=LATER)
    assert again.status is None
    assert again.events == ()


def test_what_serves_keeps_serving_when_the_next_spec_is_infeasible() -> None:
    cell = Cell(raw_resource())
    cell.settle(FEASIBLE)
    before = cell.world.rendered()
    cell.edit(slo={"timeToFirstToken": {"p95": "1ms"}})
    outcome = cell.step(Standing(feasibility=INFEASIBLE))
    assert outcome.actions == ()
    assert cell.world.rendered() == before
    ready = condition(cell, "Ready")
    assert ready["status"] == "False"
    assert "earlier plan cpu×0.5 bs8 keeps serving" in ready["message"]
    assert cell.raw["status"]["plan"]["revision"] == "0123456789"
    assert cell.raw["status"]["planGeneration"] == 1
    assert cell.raw["status"]["observedGeneration"] == 2
    cell.edit(slo={})
    cell.settle(FEASIBLE)
    assert cell.world.rendered() == before
    assert condition(cell, "Ready")["status"] == "True"
    assert "feasibility" not in cell.raw["status"]


def test_a_plan_that_the_engine_cannot_run_starts_no_pods() -> None:
    cell = Cell(raw_resource())
    outcome = cell.step(planned(cell, TOO_WIDE))
    assert outcome.actions == ()
    assert cell.world.children == {}
    stalled = condition(cell, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "EngineLimit")
    assert "H200×16 bs64 needs tensorParallelSize 16" in stalled["message"]
    assert condition(cell, "Ready")["status"] == "False"
    feasible = condition(cell, "SLOFeasible")
    assert (feasible["status"], feasible["reason"]) == ("True", "Planned")
    assert "plan" not in cell.raw["status"]
    assert [event.reason for event in outcome.events] == ["EngineLimit"]
    again = cell.step(planned(cell, TOO_WIDE), now=LATER)
    assert (again.status, again.events) == (None, ())


def test_what_serves_keeps_serving_when_the_next_plan_is_too_wide_for_the_engine() -> None:
    cell = Cell(raw_resource())
    cell.settle(FEASIBLE)
    before = cell.world.rendered()
    cell.edit(model={"source": "hf://org/large", "allowMovingRevision": True})
    assert cell.step(planned(cell, TOO_WIDE)).actions == ()
    assert cell.world.rendered() == before
    assert "earlier plan cpu×0.5 bs8 keeps serving" in condition(cell, "Ready")["message"]
    assert cell.raw["status"]["plan"]["revision"] == "0123456789"
    assert cell.raw["status"]["planGeneration"] == 1
    # Pinned to what the engine can run, the same resource goes on.
    cell.edit(pin={"tensorParallelSize": 8})
    cell.settle(planned(cell, gpu_plan(tensor_parallel_size=8)))
    assert condition(cell, "Ready")["status"] == "True"
    assert condition(cell, "Stalled")["status"] == "False"


def test_an_infeasible_edit_is_forgotten_once_a_plan_is_only_too_wide() -> None:
    cell = Cell(raw_resource())
    cell.step(Standing(feasibility=INFEASIBLE))
    cell.edit(slo={})
    cell.step(planned(cell, TOO_WIDE))
    assert "feasibility" not in cell.raw["status"]


def test_best_effort_runs_and_says_so() -> None:
    cell = Cell(raw_resource(spec={"slo": {"whenInfeasible": "BestEffort"}}))
    cell.settle(Standing(plan=cpu_plan(), inputs="a", feasibility=INFEASIBLE))
    assert condition(cell, "Ready")["status"] == "True"
    feasible = condition(cell, "SLOFeasible")
    assert (feasible["status"], feasible["reason"]) == ("False", "BestEffort")
    assert cell.raw["status"]["planFeasible"] is False


@pytest.mark.parametrize("transient", [True, False])
def test_trouble_changes_nothing_that_runs(transient: bool) -> None:
    cell = Cell(raw_resource())
    cell.settle(FEASIBLE)
    before = cell.world.rendered()
    trouble = Trouble("ModelConfigUnavailable", "no network", transient)
    outcome = cell.step(Standing(trouble=trouble))
    assert outcome.actions == ()
    # What only an edit can end is not looked at of our own accord, besides once a minute.
    assert (outcome.requeue_after is not None) is transient
    assert cell.world.rendered() == before
    stalled = condition(cell, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "ModelConfigUnavailable")
    assert cell.raw["status"]["plan"]["revision"] == "0123456789"

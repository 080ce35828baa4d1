"""While rollouts pause, what runs is kept up as it was, and the status says what waits."""

from typing import Any

import pytest

from plimsoll_operator.api.status import Feasibility
from plimsoll_operator.plans.choice import Standing, Trouble
from plimsoll_operator.render.revision import KIND as REVISION
from plimsoll_operator.rollouts.hold import while_paused
from tests.unit.plimsoll_operator.played_rollouts import BAD, GOOD, Rollouts, planned
from tests.unit.plimsoll_operator.samples import condition, resource

PAUSE = {"rollout": {"paused": True}}
RESUME: dict[str, Any] = {"rollout": {}}


def paused(**edit: Any) -> Rollouts:
    rig = Rollouts()
    rig.serve()
    rig.cell.edit(**PAUSE, **edit)
    rig.settle()
    return rig


def test_a_pause_alone_changes_nothing_and_is_ready() -> None:
    rig = Rollouts()
    rig.serve()
    before = rig.deployment
    rig.cell.edit(**PAUSE)
    rig.settle()
    assert rig.deployment == before
    ready = condition(rig.cell, "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "Serving")
    assert ready["message"].endswith("rollouts are paused (spec.rollout.paused)")


def test_an_edit_waits_and_is_rolled_out_when_resumed() -> None:
    rig = paused(model={**GOOD, "servedName": "other"})
    assert rig.template == rig.served_template
    first = rig.status["currentRevision"]
    assert rig.status["planGeneration"] == 1
    ready = condition(rig.cell, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Paused")
    assert ready["observedGeneration"] == 2
    assert ready["message"] == (
        "rollouts are paused (spec.rollout.paused); the plan cpu bs8 waits. "
        "Meanwhile 1 of 1 replicas serve by the plan in force"
    )
    for kind in ("Reconciling", "Stalled"):
        assert condition(rig.cell, kind)["status"] == "False"
    assert [name for kind, name in rig.cell.world.children if kind == REVISION] == [first]
    rig.cell.edit(**RESUME)
    rig.serve()
    assert rig.status["currentRevision"] != first
    assert condition(rig.cell, "Ready")["status"] == "True"


def test_an_edit_that_is_taken_back_waits_for_nothing() -> None:
    rig = paused(model=BAD)
    rig.cell.edit(model=GOOD)
    rig.settle()
    assert condition(rig.cell, "Ready")["status"] == "True"


def test_scaling_goes_on() -> None:
    rig = paused(model=BAD, scaling={"minReplicas": 3, "maxReplicas": 3})
    assert rig.template == rig.served_template
    assert rig.deployment["spec"]["replicas"] == 3


def test_children_are_mended_meanwhile() -> None:
    rig = paused(model=BAD)
    del rig.cell.world.children["Service", "chat"]
    rig.settle()
    assert ("Service", "chat") in rig.cell.world.children


def test_what_is_paused_from_the_start_starts_nothing() -> None:
    rig = Rollouts(**PAUSE)
    rig.settle()
    assert rig.cell.world.children == {}
    ready = condition(rig.cell, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Paused")
    assert "the plan cpu bs8 waits" in ready["message"]
    rig.cell.edit(**RESUME)
    rig.serve()
    assert condition(rig.cell, "Ready")["status"] == "True"


def test_a_rollout_under_way_stops_where_it_is_and_goes_on() -> None:
    rig = Rollouts()
    rig.serve()
    rig.cell.edit(model={**GOOD, "servedName": "other"})
    rig.settle()
    new = rig.template
    rig.cell.edit(**PAUSE)
    rig.settle()
    assert (rig.template, rig.deployment["spec"]["paused"]) == (new, True)
    ready = condition(rig.cell, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Paused")
    rig.cell.edit(**RESUME)
    rig.serve()
    assert "paused" not in rig.deployment["spec"]
    assert condition(rig.cell, "Ready")["status"] == "True"


def test_a_pause_ends_a_rollback_without_touching_pods_and_resuming_tries_again() -> None:
    rig = Rollouts()
    rig.serve()
    rig.cell.edit(model=BAD)
    rig.fail()
    before = rig.template
    rig.cell.edit(**PAUSE)
    rig.settle()
    assert rig.template == before
    assert "rollback" not in rig.status
    rig.cell.edit(**RESUME)
    rig.settle()
    assert rig.template != before


@pytest.mark.parametrize(
    ("answer", "waits"),
    [
        (Standing(trouble=Trouble("PlanningFailed", "no such model")), "no such model"),
        (Standing(feasibility=Feasibility(binding_constraint="TTFT")), "TTFT"),
        (Standing(), "no plan"),
    ],
)
def test_what_cannot_be_planned_is_said(answer: Standing, waits: str) -> None:
    hold = while_paused(resource(spec=PAUSE, status={"currentRevision": "chat-1"}), answer)
    assert hold is not None
    assert hold.revision == "chat-1"
    assert hold.message == f"rollouts are paused (spec.rollout.paused); {waits}"


def test_without_a_pause_nothing_is_held() -> None:
    assert while_paused(resource(), planned(resource())) is None
    assert while_paused(resource(spec={"model": {"source": "ftp://x"}}), Standing()) is None

"""Ready is true exactly when this generation serves, and else says why not."""

from typing import Any

import pytest

from tests.unit.plimsoll_operator.pods import (
    container,
    crashing,
    pulling,
    serving,
    starting,
    unschedulable,
)
from tests.unit.plimsoll_operator.samples import (
    FEASIBLE,
    LATER,
    Cell,
    condition,
    raw_resource,
    scaled_to,
)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1}, "RollingOut"),
        ({"observedGeneration": 0}, "RollingOut"),
        (
            {
                "observedGeneration": 1,
                "conditions": [
                    {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: x"}
                ],
            },
            "PodsRefused",
        ),
        (
            {
                "observedGeneration": 1,
                "updatedReplicas": 1,
                "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}],
            },
            "ProgressDeadlineExceeded",
        ),
        (
            {
                "observedGeneration": 1,
                "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}],
            },
            "RollingOut",
        ),
    ],
)
def test_why_it_is_not_ready(status: dict[str, Any], reason: str) -> None:
    cell = Cell(raw_resource())
    cell.step(FEASIBLE)
    cell.world.children["Deployment", "chat"]["status"] = status
    cell.step(FEASIBLE)
    ready = condition(cell, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", reason)
    if reason == "PodsRefused":
        assert "exceeded quota: x" in ready["message"]


def test_ready_is_lost_while_an_edit_rolls_out() -> None:
    cell = Cell(raw_resource())
    cell.settle(FEASIBLE)
    cell.edit(model={"source": "builtin://tiny", "servedName": "other"})
    cell.step(FEASIBLE)
    assert condition(cell, "Ready")["status"] == "False"
    deployment = cell.world.children["Deployment", "chat"]
    # One old pod still serves beside a new one that does not yet.
    deployment["status"] = {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": 2,
        "updatedReplicas": 1,
        "readyReplicas": 1,
    }
    cell.step(FEASIBLE)
    assert condition(cell, "Ready")["status"] == "False"
    cell.world.roll_out()
    cell.step(FEASIBLE)
    assert condition(cell, "Ready")["status"] == "True"
    assert condition(cell, "Ready")["observedGeneration"] == 2


def rolling(*pods: dict[str, Any], spec: dict[str, Any] | None = None, **status: Any) -> Cell:
    """A resource whose Deployment has seen its newest rendering, and has these pods."""
    cell = Cell(raw_resource(spec=spec or {}))
    cell.step(FEASIBLE)
    cell.world.children["Deployment", "chat"]["status"] = {
        "observedGeneration": 1,
        "replicas": len(pods),
        "updatedReplicas": len(pods),
        **status,
    }
    cell.world.pods = pods
    return cell


TROUBLES = {
    "Unschedulable": (unschedulable(), "2 Insufficient cpu"),
    "ImagePullBackOff": (pulling(), "not found"),
    "OutOfMemory": (crashing("waiting"), "more memory than its limit (OOMKilled)"),
    "CrashLoopBackOff": (crashing("waiting", code=1, reason="Error"), "exit code 1"),
}


@pytest.mark.parametrize("reason", TROUBLES)
def test_what_keeps_pods_from_serving_is_said(reason: str) -> None:
    pod, why = TROUBLES[reason]
    cell = rolling(pod)
    outcome = cell.step(FEASIBLE)
    for kind in ("Ready", "Reconciling"):
        assert condition(cell, kind)["reason"] == reason
        message = condition(cell, kind)["message"]
        assert message.startswith("0 of 1 replicas serve by this plan; 1 replica cannot ")
        assert why in message
    assert condition(cell, "Stalled")["status"] == "False"
    learnt = ["MemoryReserved"] if reason == "OutOfMemory" else []
    assert [event.reason for event in outcome.events] == [reason, *learnt]
    again = cell.step(FEASIBLE, now=LATER)
    assert (again.status, again.events) == (None, ())


@pytest.mark.parametrize("reason", TROUBLES)
def test_it_is_still_said_once_the_deadline_has_passed(reason: str) -> None:
    pod, why = TROUBLES[reason]
    late = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    cell = rolling(pod, conditions=late)
    cell.step(FEASIBLE)
    stalled = condition(cell, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "ProgressDeadlineExceeded")
    assert reason in stalled["message"]
    assert why in stalled["message"]


def test_a_crash_loop_writes_nothing_as_it_goes_round() -> None:
    cell = rolling(crashing("waiting"))
    cell.step(FEASIBLE)
    for restarts, phase in enumerate(("running", "ended", "waiting") * 3, start=4):
        cell.world.pods = (crashing(phase, restarts=restarts),)
        outcome = cell.step(FEASIBLE, now=LATER)
        assert (outcome.status, outcome.events) == (None, ())


REFUSED_PODS = [
    {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": 'pods "chat-7d4b9c6f5-x2x4f" is forbidden: exceeded quota: none, '
        "limited: pods=1",
    }
]


def test_pods_that_may_not_be_made_are_counted_beside_those_that_fail() -> None:
    spec = {"scaling": {"minReplicas": 3, "maxReplicas": 3}}
    cell = rolling(crashing("waiting"), spec=spec, conditions=REFUSED_PODS)
    cell.step(FEASIBLE)
    ready = condition(cell, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "PodsRefused")
    assert ready["message"] == (
        "0 of 3 replicas serve by this plan; 2 replicas cannot be created: exceeded quota: none, "
        "limited: pods=1; 1 replica cannot stay up (OutOfMemory): container engine takes more "
        "memory than its limit (OOMKilled)"
    )


@pytest.mark.parametrize("refused", [True, False])
def test_a_replica_on_top_that_does_not_come_leaves_ready_alone_and_is_said(refused: bool) -> None:
    cell = Cell(raw_resource(spec={"scaling": {"minReplicas": 1, "maxReplicas": 4}}))
    cell.settle(FEASIBLE, scaled_to(1))
    cell.step(FEASIBLE, scaled_to(2))
    deployment = cell.world.children["Deployment", "chat"]
    there = 1 if refused else 2
    deployment["status"] = {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": there,
        "updatedReplicas": there,
        "readyReplicas": 1,
        "conditions": REFUSED_PODS if refused else [],
    }
    cell.world.pods = (serving("a"),) if refused else (serving("a"), unschedulable("b"))
    cell.step(FEASIBLE, scaled_to(2))
    ready = condition(cell, "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "Serving")
    cause = "created: exceeded quota" if refused else "scheduled (Unschedulable): 0/3 nodes"
    assert f"chat serves by this generation's plan; 1 replica cannot be {cause}" in ready["message"]
    cell.world.roll_out()
    cell.world.pods = (serving("a"), serving("b"))
    cell.step(FEASIBLE, scaled_to(2))
    assert condition(cell, "Ready")["message"] == "chat serves by this generation's plan"


def test_pods_of_an_earlier_plan_are_not_held_against_this_one() -> None:
    old = unschedulable("old")
    old["metadata"]["labels"]["plimsoll.dev/plan"] = "earlier"
    cell = rolling(old, starting("new"))
    cell.step(FEASIBLE)
    assert condition(cell, "Ready")["reason"] == "RollingOut"


def test_a_download_is_told_as_what_it_is() -> None:
    loading = starting("new")
    running = container({"running": {}}, name="download")
    loading["status"]["initContainerStatuses"] = [running]
    cell = rolling(loading)
    cell.step(FEASIBLE)
    ready = condition(cell, "Ready")
    assert ready["reason"] == "Downloading"
    assert (
        "0 of 1 replicas serve by this plan; the model is being downloaded for 1 replica: "
        in (ready["message"])
    )
    assert condition(cell, "Reconciling")["status"] == "True"

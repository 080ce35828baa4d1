"""New replicas come beside old ones where there is room, else in the place of as many as may go."""

from dataclasses import replace
from typing import Any

import pytest

from plimsoll_operator.plans.choice import Standing
from plimsoll_operator.resource import Resource
from tests.unit.plimsoll_operator import played_rollouts
from tests.unit.plimsoll_operator.played_rollouts import BAD, TIMED_OUT, Rollouts, planned
from tests.unit.plimsoll_operator.pods import serving, unschedulable
from tests.unit.plimsoll_operator.samples import condition

BESIDE = {"maxUnavailable": 0, "maxSurge": 1}
IN_PLACE = {"maxUnavailable": 2, "maxSurge": 0}
LACKS_CLAIM = 'persistentvolumeclaim "models" not found. preemption: not eligible'
ALLOWED = {"rollout": {"maxUnavailable": 2}}


def strategy(rig: Rollouts) -> Any:
    return rig.deployment["spec"]["strategy"]["rollingUpdate"]


def rolling(pod: dict[str, Any], **spec: Any) -> Rollouts:
    """Three replicas serve, and a pod of a new plan is there that does not."""
    rig = Rollouts(scaling={"minReplicas": 3, "maxReplicas": 3}, **spec)
    rig.serve()
    rig.cell.edit(pin={"maxNumSeqs": 64})
    rig.settle()
    pod["metadata"]["labels"]["plimsoll.dev/plan"] = f"{64:010x}"
    rig.cell.world.pods = (serving("a"), serving("b"), serving("c"), pod)
    progress(rig, replicas=4, updated=1, ready=3)
    return rig


def progress(rig: Rollouts, replicas: int, updated: int, ready: int, *conditions: Any) -> None:
    rig.deployment["status"] = {
        "observedGeneration": rig.deployment["metadata"]["generation"],
        "replicas": replicas,
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "conditions": list(conditions),
    }
    rig.look()
    rig.deployment["status"]["observedGeneration"] = rig.deployment["metadata"]["generation"]
    rig.look()


def test_in_place_once_there_is_no_room_and_until_the_end() -> None:
    rig = rolling(unschedulable("new"), **ALLOWED)
    template = rig.template
    assert strategy(rig) == IN_PLACE
    # What ended made room.
    rig.cell.world.pods = (serving("a"), serving("new"))
    progress(rig, replicas=3, updated=2, ready=2)
    assert strategy(rig) == IN_PLACE
    progress(rig, replicas=3, updated=3, ready=3)
    assert strategy(rig) == BESIDE
    assert rig.template == template
    assert condition(rig.cell, "Ready")["status"] == "True"


def test_replicas_that_have_no_room_are_not_asked_for_until_a_rollout_in_place_is_through() -> None:
    """Else they count as unavailable, and none that holds the room may end."""
    rig = Rollouts(scaling={"minReplicas": 2, "maxReplicas": 3}, rollout={"maxUnavailable": 1})
    rig.serve()
    rig.cell.edit(pin={"maxNumSeqs": 64}, scaling={"minReplicas": 3, "maxReplicas": 3})
    rig.settle()
    assert rig.deployment["spec"]["replicas"] == 3
    placed, waiting = serving("new"), unschedulable("waits")
    for pod in (placed, waiting):
        pod["metadata"]["labels"]["plimsoll.dev/plan"] = f"{64:010x}"
    rig.cell.world.pods = (serving("old"), placed, waiting)
    progress(rig, replicas=3, updated=2, ready=2)
    for _ in range(2):
        rig.look()
        assert strategy(rig) == {"maxUnavailable": 1, "maxSurge": 0}
        assert rig.deployment["spec"]["replicas"] == 2
    # The old one ended, and what it held is taken for a moment by nobody.
    rig.cell.world.pods = (placed, waiting)
    progress(rig, replicas=2, updated=1, ready=1)
    assert rig.deployment["spec"]["replicas"] == 2
    rig.cell.world.pods = (placed, serving("also new"))
    progress(rig, replicas=2, updated=2, ready=2)
    assert strategy(rig) == BESIDE
    assert rig.deployment["spec"]["replicas"] == 3


def test_what_a_plan_needs_is_asked_for_after_a_rollout_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The autoscaler may hold the count while nothing is measured."""

    def two(resource: Resource) -> Standing:
        standing = planned(resource)
        assert standing.plan is not None
        return replace(standing, plan=standing.plan.model_copy(update={"replicas": 2}))

    monkeypatch.setattr(played_rollouts, "planned", two)
    rig = Rollouts(scaling={"minReplicas": 1, "maxReplicas": 3}, rollout={"maxUnavailable": 1})
    rig.serve()
    assert rig.deployment["spec"]["replicas"] == 2
    rig.cell.edit(pin={"maxNumSeqs": 64})
    rig.settle()
    waiting = unschedulable("waits")
    waiting["metadata"]["labels"]["plimsoll.dev/plan"] = f"{64:010x}"
    rig.cell.world.pods = (serving("old"), waiting)
    progress(rig, replicas=2, updated=1, ready=1)
    assert rig.deployment["spec"]["replicas"] == 1
    new = serving("new")
    new["metadata"]["labels"]["plimsoll.dev/plan"] = f"{64:010x}"
    rig.cell.world.pods = (new,)
    progress(rig, replicas=1, updated=1, ready=1)
    assert rig.deployment["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("pod", "spec"),
    [
        (serving("new"), ALLOWED),
        (unschedulable("new", LACKS_CLAIM), ALLOWED),
        (unschedulable("new"), {}),
    ],
)
def test_beside_where_there_is_room_or_room_would_not_help_or_none_may_go(
    pod: dict[str, Any], spec: dict[str, Any]
) -> None:
    assert strategy(rolling(pod, **spec)) == BESIDE


@pytest.mark.parametrize(
    ("given", "expected"), [("2026-01-01T00:01:00Z", BESIDE), ("2025-12-31T23:59:59Z", IN_PLACE)]
)
def test_room_that_is_about_to_come_is_waited_for_as_long_as_it_was_given(
    given: str, expected: dict[str, int]
) -> None:
    old = serving("old")
    old["metadata"]["deletionTimestamp"] = given
    rig = Rollouts(scaling={"minReplicas": 3, "maxReplicas": 3}, **ALLOWED)
    rig.serve()
    rig.cell.edit(pin={"maxNumSeqs": 64})
    rig.settle()
    pod = unschedulable("new")
    pod["metadata"]["labels"]["plimsoll.dev/plan"] = f"{64:010x}"
    rig.cell.world.pods = (serving("a"), serving("b"), old, pod)
    progress(rig, replicas=4, updated=1, ready=3)
    assert strategy(rig) == expected
    rig.cell.world.pods = (serving("a"), serving("b"), pod)
    progress(rig, replicas=3, updated=1, ready=2)
    assert strategy(rig) == IN_PLACE


def test_how_to_make_room_is_said_before_and_after_it_is_rolled_back() -> None:
    rig = rolling(unschedulable("new"))
    way_out = "With spec.rollout.maxUnavailable replicas may end before new ones serve"
    assert way_out in condition(rig.cell, "Ready")["message"]
    progress(rig, 4, 1, 3, TIMED_OUT)
    assert way_out in rig.status["rollback"]["message"]


def test_without_a_rollout_replicas_that_find_no_room_end_nobody() -> None:
    rig = Rollouts(**ALLOWED)
    rig.serve()
    before = rig.deployment
    rig.cell.world.pods = (serving("a"), unschedulable("b"))
    progress(rig, replicas=2, updated=2, ready=1)
    assert strategy(rig) == BESIDE == before["spec"]["strategy"]["rollingUpdate"]


def test_what_is_rolled_back_in_place_ends_beside() -> None:
    rig = rolling(unschedulable("new"), **ALLOWED)
    served = rig.served_template
    progress(rig, 3, 1, 2, TIMED_OUT)
    rig.cell.edit(model=BAD)
    rig.settle()
    rig.fail()
    assert rig.template == served
    assert strategy(rig) == BESIDE

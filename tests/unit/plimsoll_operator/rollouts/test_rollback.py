"""A rollout that fails is rolled back once, to what served, and tried again after an edit alone."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.plans.spec_hash import edited
from plimsoll_operator.render.revision import KIND as REVISION
from tests.unit.plimsoll_operator.played_rollouts import (
    BAD,
    BUSY_TIME,
    GOOD,
    NO_TIME,
    TIMED_OUT,
    Rollouts,
)
from tests.unit.plimsoll_operator.pods import crashing, serving
from tests.unit.plimsoll_operator.samples import condition, resource


def broken(**edit: Any) -> Rollouts:
    """Something served, and an edit did not come to serve."""
    rig = Rollouts()
    rig.serve()
    rig.cell.edit(**(edit or {"model": BAD}))
    rig.fail()
    return rig


def test_what_served_is_in_force_again_and_the_status_says_why() -> None:
    rig = Rollouts()
    rig.serve()
    before, first = rig.template, rig.status["currentRevision"]
    assert rig.status["served"] == {
        "revision": first,
        "startedPlan": "0000000008",
        "feasible": True,
    }
    rig.cell.edit(model=BAD)
    rig.settle()
    second = rig.status["currentRevision"]
    assert (second != first, rig.template != before) == (True, True)
    rig.fail()
    assert rig.template == before
    assert rig.status["currentRevision"] == first
    assert rig.status["rollback"]["failedRevision"] == second
    assert rig.status["planGeneration"] == 1
    stalled = condition(rig.cell, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "RolledBack")
    assert stalled["message"] == (
        f"generation 2 ({second}) was rolled back to {first}, which served before: cpu bs8 did not "
        "serve within the progress deadline: no replica became ready. It is tried again when the "
        "spec is edited. "
        "Meanwhile 1 of 1 replicas serve by the plan in force"
    )
    assert condition(rig.cell, "Ready")["status"] == "False"
    assert condition(rig.cell, "Ready")["observedGeneration"] == 2


def test_it_is_decided_before_anything_is_done() -> None:
    rig = Rollouts()
    rig.serve()
    rig.cell.edit(model=BAD)
    rig.settle()
    failing = rig.template
    rig.deployment["status"] = {**rig.deployment["status"], "updatedReplicas": 1}
    rig.deployment["status"]["conditions"] = [TIMED_OUT]
    outcome = rig.look()
    assert outcome.actions == ()
    assert outcome.requeue_after == 0
    assert rig.status["rollback"]["generation"] == 2
    assert rig.template == failing


def test_an_edit_is_tried_and_replicas_of_an_autoscaler_are_none() -> None:
    rig = broken()
    before = rig.template
    rig.cell.edit(replicas=3)
    rig.settle()
    assert rig.template == before
    rig.cell.edit(model={**BAD, "servedName": "better"})
    rig.settle()
    assert rig.template != before
    assert "rollback" not in rig.status
    rig.serve()
    assert condition(rig.cell, "Ready")["status"] == "True"
    assert rig.status["served"]["revision"] == rig.status["currentRevision"]


def test_an_edit_back_changes_nothing_that_runs() -> None:
    rig = broken()
    before = rig.deployment
    rig.cell.edit(model=GOOD)
    rig.settle()
    assert rig.deployment == before
    assert condition(rig.cell, "Ready")["status"] == "True"
    assert "rollback" not in rig.status


def test_bounds_of_scaling_and_who_may_call_are_followed_meanwhile() -> None:
    rig = Rollouts()
    rig.serve()
    rig.cell.edit(model=BAD, scaling={"minReplicas": 3, "maxReplicas": 3}, access={})
    rig.fail()
    assert rig.status["rollback"]["generation"] == 2
    assert rig.template == rig.served_template
    assert rig.deployment["spec"]["replicas"] == 3
    policy = rig.cell.world.children["NetworkPolicy", "chat"]
    assert "from" in policy["spec"]["ingress"][0]


def test_a_minimum_by_time_of_day_is_no_edit() -> None:
    busy = {"name": "day", "start": "08:00", "end": "18:00", "minReplicas": 2}
    rig = Rollouts(scaling={"minReplicas": 1, "maxReplicas": 3, "schedules": [busy]})
    rig.schedules = BUSY_TIME
    rig.serve()
    rig.cell.edit(model=BAD)
    rig.fail()
    assert rig.template == rig.served_template
    rig.schedules = NO_TIME
    rig.settle()
    assert rig.status["rollback"]["generation"] == 2
    assert rig.template == rig.served_template


def test_with_nothing_to_go_back_to_the_failing_one_stays_and_says_so() -> None:
    rig = Rollouts(model=BAD)
    rig.fail()
    stalled = condition(rig.cell, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "ProgressDeadlineExceeded")
    assert "No revision has served before, so there is none to roll back to" in stalled["message"]
    assert "rollback" not in rig.status


def test_a_revision_that_is_gone_is_not_gone_back_to() -> None:
    rig = Rollouts()
    rig.serve()
    first = rig.status["currentRevision"]
    rig.cell.edit(model=BAD)
    rig.settle()
    del rig.cell.world.children[REVISION, first]
    rig.fail()
    stalled = condition(rig.cell, "Stalled")
    assert stalled["reason"] == "ProgressDeadlineExceeded"
    assert f"Revision {first} served before, and is gone" in stalled["message"]


def test_one_that_is_lost_later_is_not_kept_up_and_nothing_is_touched() -> None:
    rig = broken()
    before = rig.deployment
    del rig.cell.world.children[REVISION, rig.status["served"]["revision"]]
    rig.settle()
    stalled = condition(rig.cell, "Stalled")
    assert stalled["reason"] == "RevisionLost"
    assert "is gone" in stalled["message"]
    assert rig.deployment == before
    assert rig.status["rollback"]["generation"] == 2


def test_what_served_once_is_not_rolled_back() -> None:
    rig = Rollouts()
    rig.serve()
    rig.cell.edit(model={**GOOD, "servedName": "other"})
    rig.serve()
    rig.deployment["status"]["readyReplicas"] = 0
    rig.deployment["status"]["conditions"] = [TIMED_OUT]
    rig.settle()
    assert "rollback" not in rig.status


def test_the_last_verdict_on_a_template_that_comes_back_is_none_on_this_rollout() -> None:
    rig = Rollouts()
    rig.serve()
    rig.cell.edit(model=BAD)
    rig.settle()
    rig.deployment["status"] = {**rig.deployment["status"], "conditions": [TIMED_OUT]}
    assert rig.deployment["status"]["updatedReplicas"] == 0
    rig.settle()
    assert "rollback" not in rig.status


@pytest.mark.parametrize(("restarts", "back"), [(4, False), (5, True)])
def test_pods_that_end_over_and_over_are_not_waited_for(restarts: int, back: bool) -> None:
    rig = Rollouts()
    rig.serve()
    rig.cell.edit(pin={"maxNumSeqs": 64})
    rig.settle()
    loops = crashing("waiting", restarts=restarts)
    loops["metadata"]["labels"]["plimsoll.dev/plan"] = f"{64:010x}"
    rig.cell.world.pods = (serving("old"), loops)
    rig.settle()
    assert "rollback" not in rig.status  # it is not said to be of this rollout yet
    rig.deployment["status"] = {**rig.deployment["status"], "replicas": 2, "updatedReplicas": 1}
    rig.settle()
    assert ("rollback" in rig.status) == back
    if back:
        message = rig.status["rollback"]["message"]
        assert "did not serve within five starts" in message
        assert "more memory than its limit (OOMKilled)" in message


def test_pods_keep_the_limits_that_they_were_started_with() -> None:
    rig = Rollouts()
    rig.serve()
    before = rig.template
    rig.cell.edit(pin={"maxNumSeqs": 4})
    rig.serve()
    assert rig.template == before
    assert rig.status["served"]["startedPlan"] == "0000000008"
    lowered = rig.status["currentRevision"]
    rig.cell.edit(model=BAD)
    rig.fail()
    assert rig.status["currentRevision"] == lowered
    assert rig.template == before


def test_the_hash_is_of_all_that_people_edit() -> None:
    spec = resource().spec
    assert spec is not None
    same = spec.model_copy(update={"replicas": 4})
    rollout = spec.rollout.model_copy(update={"progress_deadline_seconds": 900})
    assert edited(same) == edited(spec)
    assert edited(spec.model_copy(update={"rollout": rollout})) != edited(spec)


STEPS = st.one_of(
    st.tuples(st.just("edit"), st.sampled_from([GOOD, BAD]), st.sampled_from([4, 8, 64])),
    st.sampled_from([("serve",), ("fail",), ("look",), ("pause",), ("resume",)]),
)


@settings(max_examples=25)
@given(st.lists(STEPS, max_size=14))
def test_no_flapping_whatever_happens(steps: list[tuple[Any, ...]]) -> None:
    rig = Rollouts()
    templates: list[Any] = []
    rollbacks = 0
    for step, *what in steps:
        if step in ("edit", "pause", "resume"):
            rollout = {**rig.cell.raw["spec"].get("rollout", {}), "paused": step == "pause"}
            edit = {"model": what[0], "pin": {"maxNumSeqs": what[1]}} if what else {}
            rig.cell.edit(**edit, **({} if what else {"rollout": rollout}))
            templates, rollbacks = [], 0
            continue
        before = rig.cell.raw.get("status", {})
        getattr(rig, "settle" if step == "look" else step)()
        rollbacks += rig.status.get("rollback") is not None and before.get("rollback") is None
        assert rollbacks <= 1
        if "rollback" in rig.status:
            assert rig.status["currentRevision"] == rig.status["served"]["revision"]
            assert rig.template == rig.served_template
            assert condition(rig.cell, "Ready")["status"] == "False"
            assert condition(rig.cell, "Stalled")["status"] == "True"
        if ("Deployment", "chat") in rig.cell.world.children:
            if not templates or templates[-1] != rig.template:
                templates.append(rig.template)
            # At most what was there, what was tried, and back.
            assert len(templates) <= 3

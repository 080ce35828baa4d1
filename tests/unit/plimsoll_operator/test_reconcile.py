"""Any state converges, nothing foreign is touched, and what is at rest stays at rest."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.api.status import Alternative, Feasibility, PlanStatus
from plimsoll_operator.autoscale import Decision, Memory
from plimsoll_operator.reconcile import Apply, Delete
from plimsoll_operator.render.children import child_keys
from plimsoll_operator.resource import parse_resource
from plimsoll_operator.standing import Standing, Trouble, standing
from tests.unit.plimsoll_operator.samples import (
    LATER,
    NOW,
    UID,
    Cell,
    World,
    cpu_plan,
    gpu_plan,
    raw_resource,
)

INFEASIBLE = Feasibility(
    binding_constraint="TTFT p95 640ms is above 1ms",
    alternatives=[Alternative(change="slo.timeToFirstToken.p95: 640ms", effect="feasible")],
)
FEASIBLE = Standing(plan=cpu_plan(), inputs="a")
TOO_WIDE = gpu_plan(tensor_parallel_size=16, summary="H200×16 bs64")
KEYS = child_keys("chat")


def condition(cell: Cell, kind: str) -> dict[str, Any]:
    return next(item for item in cell.raw["status"]["conditions"] if item["type"] == kind)


def scaled_to(replicas: int) -> Decision:
    return Decision(replicas, True, "QueueMeasured", "measured", Memory())


def test_creates_all_children_and_becomes_ready() -> None:
    cell = Cell(raw_resource())
    outcome = cell.step(FEASIBLE)
    assert [type(action) for action in outcome.actions] == [Apply] * 6
    assert set(cell.world.children) == set(KEYS)
    assert condition(cell, "Ready")["status"] == "False"
    assert condition(cell, "Reconciling")["status"] == "True"
    cell.step(FEASIBLE)
    assert condition(cell, "Ready")["reason"] == "RollingOut"
    cell.world.roll_out()
    cell.step(FEASIBLE, now=LATER)
    assert condition(cell, "Ready") == {
        "type": "Ready",
        "status": "True",
        "reason": "Serving",
        "message": "chat serves by this generation's plan",
        "observedGeneration": 1,
        "lastTransitionTime": LATER,
    }
    assert cell.raw["status"]["endpoint"] == "http://chat.ml.svc/v1"
    assert cell.raw["status"]["readyReplicas"] == 1


def test_at_rest_nothing_is_written() -> None:
    cell = Cell(raw_resource())
    cell.settle(FEASIBLE)
    before = copy.deepcopy(cell.raw), cell.world.writes
    outcome = cell.step(FEASIBLE, now=LATER)
    assert outcome.actions == ()
    assert outcome.status is None
    assert outcome.events == ()
    assert (cell.raw, cell.world.writes) == before


def test_children_are_owned_and_labelled() -> None:
    cell = Cell(raw_resource())
    cell.settle(FEASIBLE)
    for child in cell.world.children.values():
        (owner,) = child["metadata"]["ownerReferences"]
        assert owner == {
            "apiVersion": "plimsoll.dev/v1alpha1",
            "kind": "LLMDeployment",
            "name": "chat",
            "uid": UID,
            "controller": True,
            "blockOwnerDeletion": True,
        }
        assert child["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "plimsoll"
        assert "finalizers" not in child["metadata"]


plans = st.sampled_from([cpu_plan(), gpu_plan(), cpu_plan(revision="ffffffffff", max_num_seqs=4)])
edits = st.sampled_from(
    [
        lambda child: child["metadata"]["labels"].pop("app.kubernetes.io/managed-by"),
        lambda child: child["metadata"]["annotations"].clear(),
        lambda child: child["metadata"].pop("annotations"),
        lambda child: child.__setitem__("spec", {}),
        lambda child: child.get("spec", {}).__setitem__("replicas", 7),
        lambda child: child.get("spec", {}).__setitem__("selector", {"app": "other"}),
        lambda child: child.get("spec", {}).pop("ports", None),
        lambda child: child.__setitem__("automountServiceAccountToken", True),
    ]
)


@given(
    plan=plans,
    lost=st.sets(st.sampled_from(KEYS)),
    changed=st.dictionaries(st.sampled_from(KEYS), edits),
)
def test_converges_from_any_damage(plan: Any, lost: set[Any], changed: dict[Any, Any]) -> None:
    standing = Standing(plan=plan, inputs="a")
    cell = Cell(raw_resource())
    cell.settle(standing)
    wanted = cell.world.rendered()
    for key, edit in changed.items():
        edit(cell.world.children[key])
    for key in lost:
        del cell.world.children[key]
    cell.settle(standing, now=LATER)
    after = cell.world.rendered()
    for key, child in wanted.items():
        spec = {**after[key].get("spec", {}), **child.get("spec", {})}
        assert after[key].get("spec", {}) == spec
        assert after[key]["metadata"] == child["metadata"]
    assert condition(cell, "Ready")["status"] == "True"


@given(
    first=st.tuples(plans, st.integers(1, 4)),
    second=st.tuples(plans, st.integers(1, 4)),
    hold=st.booleans(),
)
def test_back_to_a_spec_is_back_to_its_bytes(first: Any, second: Any, hold: bool) -> None:
    cell = Cell(raw_resource())
    seen = []
    for plan, replicas in (first, second, first):
        scaling = {"minReplicas": replicas, "maxReplicas": replicas}
        cell.edit(scaling=scaling)
        # A rollout may still be under way when the next edit comes.
        if hold:
            cell.step(Standing(plan=plan, inputs=plan.revision))
        else:
            cell.settle(Standing(plan=plan, inputs=plan.revision))
        seen.append(cell.world.rendered())
    # The simulated server keeps fields that are no longer applied, unlike the real one, which
    # drops what its field manager gave up; so compare what is applied.
    cell.settle(Standing(plan=first[0], inputs=first[0].revision))
    annotations = [
        {key: child["metadata"]["annotations"] for key, child in world.items()}
        for world in (seen[0], cell.world.rendered())
    ]
    assert annotations[0] == annotations[1]
    assert cell.world.children["Deployment", "chat"]["spec"]["replicas"] == first[1]


@given(foreign=st.sets(st.sampled_from(KEYS), min_size=1), controlled=st.booleans())
def test_foreign_objects_are_never_touched(foreign: set[Any], controlled: bool) -> None:
    world = World()
    for kind, name in foreign:
        metadata: dict[str, Any] = {"name": name, "namespace": "ml", "uid": f"other {kind}"}
        if controlled:
            metadata["ownerReferences"] = [{"uid": "someone", "controller": True}]
        world.children[kind, name] = {"kind": kind, "metadata": metadata, "spec": {"mine": 1}}
    before = copy.deepcopy(world.children)
    cell = Cell(raw_resource(), world)
    outcome = cell.step(FEASIBLE)
    assert outcome.actions == ()
    assert world.children == before
    stalled = condition(cell, "Stalled")
    assert stalled["status"] == "True"
    assert stalled["reason"] == "NameTaken"
    for kind, name in foreign:
        assert f"{kind} {name}" in stalled["message"]
    assert [event.reason for event in outcome.events].count("NameTaken") == 1
    assert outcome.requeue_after is not None


def test_recovers_once_a_foreign_object_is_gone() -> None:
    world = World({("Service", "chat"): {"metadata": {"name": "chat", "uid": "x"}, "spec": {}}})
    cell = Cell(raw_resource(), world)
    cell.settle(FEASIBLE)
    del world.children["Service", "chat"]
    cell.settle(FEASIBLE)
    assert condition(cell, "Ready")["status"] == "True"
    assert condition(cell, "Stalled")["status"] == "False"


def test_own_objects_that_are_not_wanted_are_deleted() -> None:
    cell = Cell(raw_resource())
    cell.settle(FEASIBLE)
    stray = copy.deepcopy(cell.world.children["Service", "chat"])
    stray["metadata"].update(name="chat-old", uid="stray")
    cell.world.children["Service", "chat-old"] = stray
    outcome = cell.step(FEASIBLE)
    assert outcome.actions == (Delete(("Service", "chat-old"), "stray"),)


def test_a_child_that_is_being_deleted_is_left_until_it_is_gone() -> None:
    cell = Cell(raw_resource())
    cell.settle(FEASIBLE)
    service = cell.world.children["Service", "chat"]
    service["metadata"]["deletionTimestamp"] = NOW
    service["spec"] = {}
    assert cell.step(FEASIBLE).actions == ()


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


def planned(cell: Cell, plan: PlanStatus) -> Standing:
    """What stands after the planner has answered with that plan."""
    return standing(parse_resource(cell.raw), plan.summary, plan, None, best_effort=False)


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


def test_best_effort_runs_and_says_so() -> None:
    cell = Cell(raw_resource(spec={"slo": {"whenInfeasible": "BestEffort"}}))
    cell.settle(Standing(plan=cpu_plan(), inputs="a", feasibility=INFEASIBLE))
    assert condition(cell, "Ready")["status"] == "True"
    feasible = condition(cell, "SLOFeasible")
    assert (feasible["status"], feasible["reason"]) == ("False", "BestEffort")
    assert cell.raw["status"]["planFeasible"] is False


def test_trouble_changes_nothing_that_runs() -> None:
    cell = Cell(raw_resource())
    cell.settle(FEASIBLE)
    before = cell.world.rendered()
    outcome = cell.step(Standing(trouble=Trouble("ModelConfigUnavailable", "no network")))
    assert outcome.actions == ()
    assert outcome.requeue_after is not None
    assert cell.world.rendered() == before
    stalled = condition(cell, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "ModelConfigUnavailable")
    assert cell.raw["status"]["plan"]["revision"] == "0123456789"


def test_a_deleted_resource_is_left_alone() -> None:
    cell = Cell(raw_resource(metadata={"deletionTimestamp": NOW}))
    outcome = cell.step(FEASIBLE)
    assert outcome == type(outcome)()


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
                "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}],
            },
            "ProgressDeadlineExceeded",
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

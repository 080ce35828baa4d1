"""Any state converges, nothing foreign is touched, and what is at rest stays at rest."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.actions import Apply, Delete
from plimsoll_operator.plans.choice import Standing
from plimsoll_operator.render.children import child_keys
from plimsoll_operator.render.rendering import Rendering
from tests.unit.plimsoll_operator.samples import (
    FEASIBLE,
    LATER,
    NOW,
    UID,
    Cell,
    World,
    condition,
    cpu_plan,
    gpu_plan,
    raw_resource,
    scaled_to,
)

KEYS = child_keys("chat")


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
    annotations = {
        key: child["metadata"]["annotations"] for key, child in cell.world.rendered().items()
    }
    # Limits that were lowered while it served did not restart it, so it has those of its start.
    took = not hold and first[0].max_num_seqs < second[0].max_num_seqs <= 8
    key = ("Deployment", "chat")
    before = {**seen[0], key: seen[took][key]}
    assert {key: child["metadata"]["annotations"] for key, child in before.items()} == annotations
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


@given(alone=st.sets(st.sampled_from(KEYS), min_size=1), running=st.integers(1, 4))
def test_what_has_lost_its_owner_is_taken_on_as_it_is(alone: set[Any], running: int) -> None:
    """As by `kubectl delete --cascade=orphan`, and the same resource applied again."""
    scaling = {"minReplicas": 1, "maxReplicas": 4}
    cell = Cell(raw_resource(spec={"scaling": scaling}))
    cell.settle(FEASIBLE, scaled_to(running))
    before = cell.world.rendered()
    for key in alone:
        del cell.world.children[key]["metadata"]["ownerReferences"]
    cell.rendering = Rendering("registry.example/runtime:2")  # no reason to restart a pod
    cell.settle(FEASIBLE, scaled_to(running), now=LATER)
    assert cell.world.rendered() == before
    assert condition(cell, "Ready")["status"] == "True"


@pytest.mark.parametrize(
    "damage",
    [
        lambda item: item["labels"].pop("app.kubernetes.io/managed-by"),
        lambda item: item["labels"].update({"app.kubernetes.io/instance": "other"}),
        lambda item: item.pop("annotations"),
        lambda item: item.update(ownerReferences=[{"uid": "someone"}]),
    ],
)
def test_what_is_not_plainly_an_orphan_of_ours_is_somebody_elses(damage: Any) -> None:
    cell = Cell(raw_resource())
    cell.settle(FEASIBLE)
    service = cell.world.children["Service", "chat"]
    del service["metadata"]["ownerReferences"]
    damage(service["metadata"])
    before = copy.deepcopy(service)
    cell.step(FEASIBLE)
    assert condition(cell, "Stalled")["reason"] == "NameTaken"
    assert cell.world.children["Service", "chat"] == before


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


def test_a_deleted_resource_is_left_alone() -> None:
    cell = Cell(raw_resource(metadata={"deletionTimestamp": NOW}))
    outcome = cell.step(FEASIBLE)
    assert outcome == type(outcome)()

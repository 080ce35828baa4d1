"""Plans that were in force are kept: each once, in order, no more than wanted, none too few."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.actions import Apply, Delete, Renumber
from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.observed import Observed
from plimsoll_operator.plans.choice import Standing
from plimsoll_operator.render.labels import PLAN_LABEL
from plimsoll_operator.render.revision import KIND, revision_name
from plimsoll_operator.revisions.history import revision_actions
from tests.unit.plimsoll_operator.samples import IMAGE, UID, Cell, cpu_plan, raw_resource, resource

RECORD: dict[str, Any] = {"spec": {}}


def plan(number: int) -> PlanStatus:
    """One of several plans; even and odd ones differ in replicas alone."""
    return cpu_plan(revision=f"{number // 2:010x}", replicas=1 + number % 2)


def in_force(number: int) -> Standing:
    return Standing(plan=plan(number), inputs=f"inputs {number}", record=RECORD)


def name(number: int) -> str:
    return revision_name("chat", plan(number), f"inputs {number}")


def numbers(cell: Cell) -> dict[str, int]:
    return {key[1]: item["revision"] for key, item in cell.world.children.items() if key[0] == KIND}


def pod(number: int) -> dict[str, Any]:
    return {"metadata": {"labels": {PLAN_LABEL: plan(number).revision}}, "status": {}}


def test_a_plan_is_kept_with_what_it_was_made_from() -> None:
    cell = Cell(raw_resource())
    outcome = cell.step(in_force(0))
    (made,) = (item for item in outcome.actions if item.key[0] == KIND)
    assert isinstance(made, Apply)
    # Before the Deployment, so that no pod runs by a plan that nobody kept.
    assert outcome.actions[0] is made
    assert made.child["apiVersion"] == "apps/v1"
    assert made.child["revision"] == 1
    assert made.child["data"] == {
        "plan": plan(0).model_dump(mode="json", by_alias=True, exclude_none=True),
        "inputs": {"hash": "inputs 0", "spec": {}},
        "rendering": {"image": IMAGE.image, "pullPolicy": "IfNotPresent", "version": 1},
    }
    metadata = made.child["metadata"]
    assert metadata["name"] == name(0)
    assert metadata["ownerReferences"][0]["uid"] == UID
    assert metadata["labels"][PLAN_LABEL] == plan(0).revision
    assert metadata["labels"]["app.kubernetes.io/instance"] == "chat"
    cell.settle(in_force(0))
    assert cell.raw["status"]["currentRevision"] == name(0)


def test_back_to_an_earlier_plan_is_a_new_number_for_old_data() -> None:
    cell = Cell(raw_resource())
    for number in (0, 1):
        cell.edit()
        cell.settle(in_force(number))
    data = cell.world.children[KIND, name(0)]["data"]
    cell.edit()
    outcome = cell.step(Standing(plan=plan(0), inputs="inputs 0"))
    (action,) = (item for item in outcome.actions if item.key[0] == KIND)
    assert action == Renumber((KIND, name(0)), f"uid of {KIND} {name(0)}", 3)
    assert numbers(cell) == {name(0): 3, name(1): 2}
    assert cell.world.children[KIND, name(0)]["data"] == data
    assert cell.step(in_force(0)).actions == ()


@settings(max_examples=40)
@given(
    plans=st.lists(st.integers(0, 7), min_size=1, max_size=12),
    limit=st.integers(0, 3),
    carried=st.sets(st.integers(0, 7), max_size=3),
)
def test_history_is_bounded_and_keeps_what_runs(
    plans: list[int], limit: int, carried: set[int]
) -> None:
    cell = Cell(raw_resource(spec={"revisionHistoryLimit": limit}))
    cell.world.pods = tuple(map(pod, sorted(carried)))
    seen: set[str] = set()
    for number in plans:
        before = numbers(cell)
        cell.edit()
        cell.settle(in_force(number))
        kept = numbers(cell)
        seen.add(name(number))
        assert kept[name(number)] == max(kept.values())
        assert set(kept) <= seen
        assert len(set(kept.values())) == len(kept)
        status = cell.raw["status"]
        needed = {status["currentRevision"], status["served"]["revision"]}
        assert needed <= set(kept)
        assert len(kept) <= len(needed) + limit + len(carried)
        for item in carried:
            of_plan = [name(other) for other in (item // 2 * 2, item // 2 * 2 + 1)]
            known = [other for other in of_plan if other in before]
            newest = max(known, key=before.__getitem__, default=None)
            assert newest is None or newest in kept
        # What goes is older than anything that stays and is not carried.
        gone = set(before) - set(kept)
        assert len(gone) == 0 or len(kept) >= 1 + limit
        assert cell.step(in_force(number)).actions == ()


def test_what_the_status_says_is_in_force_stays_while_the_new_one_is_refused() -> None:
    cell = Cell(raw_resource(spec={"revisionHistoryLimit": 0}))
    cell.settle(in_force(0))
    cell.edit()
    parsed = resource(status=cell.raw["status"])
    actions = revision_actions(parsed, in_force(2), IMAGE, cell.world.observed(), 0)
    assert [type(action) for action in actions] == [Apply]


@pytest.mark.parametrize("standing", [Standing(), Standing(plan=plan(0), inputs="inputs 0")])
def test_without_a_plan_or_its_record_nothing_is_done(standing: Standing) -> None:
    assert revision_actions(resource(), standing, IMAGE, Observed(), 10) == ()


def test_revisions_of_others_are_left_alone() -> None:
    cell = Cell(raw_resource(spec={"revisionHistoryLimit": 0}))
    cell.settle(in_force(0))
    other = {"metadata": {"name": "other", "uid": "x", "ownerReferences": []}, "revision": 9}
    cell.world.children[KIND, "other"] = other
    cell.settle(in_force(2))
    assert cell.world.children[KIND, "other"] == other
    assert numbers(cell)[name(2)] == 2


def test_one_that_is_leaving_is_not_deleted_twice() -> None:
    cell = Cell(raw_resource(spec={"revisionHistoryLimit": 0}))
    cell.settle(in_force(0))
    del cell.raw["status"]["served"]  # else it would stay
    old = cell.world.children[KIND, name(0)]
    cell.edit()
    outcome = cell.step(in_force(2))
    cell.edit()
    outcome = cell.step(in_force(2))
    assert [item for item in outcome.actions if isinstance(item, Delete)] == [
        Delete((KIND, name(0)), old["metadata"]["uid"])
    ]
    old["metadata"]["deletionTimestamp"] = "now"
    cell.world.children[KIND, name(0)] = old
    assert cell.step(in_force(2)).actions == ()

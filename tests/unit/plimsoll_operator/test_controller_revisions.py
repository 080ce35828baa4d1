"""Plans are kept by the whole loop over a cluster in memory, and plan again to themselves."""

from typing import Any

import pytest

from plimsoll_operator.kube.kinds import RESOURCE, REVISION
from plimsoll_operator.plan_service import model_reader
from plimsoll_operator.planning.model_source import ModelSourceError
from plimsoll_operator.planning.status import plan_status
from plimsoll_operator.revisions.record import request_of
from plimsoll_planner.planner import plan
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.process import EASY, Start, edit, fresh
from tests.unit.plimsoll_operator.samples import raw_resource


def revisions(cluster: MemoryCluster) -> dict[str, dict[str, Any]]:
    return {key[2]: item for key, item in cluster.objects.items() if key[0] == REVISION.name}


def children(cluster: MemoryCluster) -> dict[str, Any]:
    """What runs, as it was applied."""
    return {
        kind: {"spec": item.get("spec"), "annotations": item["metadata"].get("annotations")}
        for (kind, _, name), item in cluster.objects.items()
        if name == "chat" and kind != RESOURCE.name
    }


def status(cluster: MemoryCluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.objects[RESOURCE.name, "ml", "chat"]["status"]
    return found


async def test_what_is_kept_plans_again_to_the_same(start: Start) -> None:
    cluster = fresh()
    await start(cluster).settle()
    ((name, kept),) = revisions(cluster).items()
    assert status(cluster)["currentRevision"] == name
    assert kept["data"]["plan"] == status(cluster)["plan"]
    assert kept["data"]["inputs"]["hash"] == status(cluster)["planInputs"]
    again = plan_status(plan(request_of(kept["data"]["inputs"])))
    assert again is not None
    assert again.model_dump(mode="json", by_alias=True, exclude_none=True) == kept["data"]["plan"]


async def test_an_edit_and_back_is_two_revisions_and_a_number(start: Start) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.settle()
    first = revisions(cluster)
    edit(cluster, pin={"maxNumSeqs": 4})
    await process.settle()
    edit(cluster, pin={})
    await process.settle()
    after = revisions(cluster)
    assert [item["revision"] for item in after.values()] == [3, 2]
    for name, item in first.items():
        assert after[name]["data"] == item["data"]
        assert status(cluster)["currentRevision"] == name


FAST = {"accelerator": "cpu", "model": "builtin://tiny", "error": "0.01", "samples": 512}


def measured(cluster: MemoryCluster, **figures: str) -> None:
    """Another resource's engines of the same model have measured their steps."""
    found = {**FAST, "measuredAt": "2026-01-31T12:00:00Z", **figures}
    other = raw_resource(spec=EASY, metadata={"name": "other", "uid": "uid of other"})
    cluster.put(RESOURCE.name, {**other, "status": {"calibration": found}})


async def test_an_edit_taken_back_gives_the_same_plan_whatever_was_measured_meanwhile(
    start: Start,
) -> None:
    cluster = fresh()
    await start(cluster).settle()
    before, plan_before = children(cluster), status(cluster)["plan"]
    edit(cluster, pin={"maxNumSeqs": 1})
    await start(cluster).settle()
    assert children(cluster) != before
    measured(cluster, stepOverhead="900ms")
    edit(cluster, pin={})
    await start(cluster).settle()
    assert children(cluster) == before
    assert status(cluster)["plan"] == plan_before
    # What was measured is for another spec.
    edit(cluster, slo={"timeToFirstToken": {"p95": "50s"}, "timePerOutputToken": {"p95": "9s"}})
    await start(cluster).settle()
    assert status(cluster)["plan"]["predicted"] != plan_before["predicted"]


async def test_a_plan_that_was_too_slow_is_made_anew(start: Start) -> None:
    cluster = fresh()
    await start(cluster).settle()
    raw = cluster.objects[RESOURCE.name, "ml", "chat"]
    name, plan_before = status(cluster)["currentRevision"], status(cluster)["plan"]
    cluster.put(RESOURCE.name, {**raw, "status": {**raw["status"], "drifted": [name]}})
    edit(cluster, pin={"maxNumSeqs": 4})
    await start(cluster).settle()
    assert status(cluster)["drifted"] == [name]
    measured(cluster, stepOverhead="900ms")
    edit(cluster, pin={})
    await start(cluster).settle()
    assert status(cluster)["plan"]["predicted"] != plan_before["predicted"]
    again = status(cluster)["currentRevision"]
    assert again != name
    # That one is what an edit and back gives from now on.
    measured(cluster, stepOverhead="1ms")
    edit(cluster, pin={"maxNumSeqs": 4})
    await start(cluster).settle()
    edit(cluster, pin={})
    await start(cluster).settle()
    assert status(cluster)["currentRevision"] == again


async def test_a_revision_that_is_deleted_is_a_plan_to_be_made_anew(start: Start) -> None:
    cluster = fresh()
    await start(cluster).settle()
    name, plan_before = status(cluster)["currentRevision"], status(cluster)["plan"]
    edit(cluster, pin={"maxNumSeqs": 4})
    await start(cluster).settle()
    del cluster.objects[REVISION.name, "ml", name]
    measured(cluster, stepOverhead="900ms")
    edit(cluster, pin={})
    await start(cluster).settle()
    assert status(cluster)["plan"]["predicted"] != plan_before["predicted"]


@pytest.mark.parametrize(
    ("edited", "count"),
    [
        # Pods are made from these, so that either can be rolled back to.
        ({"model": {"source": "builtin://tiny", "servedName": "other"}}, 2),
        ({"speculation": {"method": "NGram"}}, 2),
        ({"access": {}, "revisionHistoryLimit": 3, "rollout": {"progressDeadlineSeconds": 60}}, 1),
    ],
)
async def test_a_revision_is_of_what_is_planned_and_pods_are_made_from(
    start: Start, edited: dict[str, Any], count: int
) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.settle()
    before = revisions(cluster)
    edit(cluster, **edited)
    await process.settle()
    assert len(revisions(cluster)) == count
    for name, item in before.items():
        assert revisions(cluster)[name]["data"] == item["data"]


async def test_a_lost_revision_is_kept_anew_and_no_pod_moves(start: Start) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.settle()
    plan_in_force = status(cluster)["plan"]
    ((name, _),) = revisions(cluster).items()
    deployment = cluster.objects["Deployment", "ml", "chat"]
    # The nodes of that day are gone, so that planning anew would find nothing.
    for key in (REVISION.name, "ml", name), ("Node", "", "node"):
        del cluster.objects[key]
    await start(cluster).settle()
    assert status(cluster)["plan"] == plan_in_force
    assert cluster.objects["Deployment", "ml", "chat"] == deployment
    assert revisions(cluster)[name]["data"]["inputs"]["recordedLater"] is True


async def test_a_plan_stands_where_nothing_can_be_recorded(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = fresh()
    await start(cluster).settle()
    before = status(cluster)
    ((name, _),) = revisions(cluster).items()
    del cluster.objects[REVISION.name, "ml", name]

    def down(source: str, revision: str | None) -> None:
        raise ModelSourceError("the hub is down", transient=True)

    monkeypatch.setattr(model_reader, "read_model_config", down)
    await start(cluster).settle()
    assert revisions(cluster) == {}
    assert status(cluster) == before


async def test_the_store_keeps_no_data(start: Start) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.settle()
    (kept,) = process.store.all(REVISION.name)
    assert set(kept) == {"metadata", "revision"}

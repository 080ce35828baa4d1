"""Plans are kept by the whole loop over a cluster in memory, and plan again to themselves."""

from typing import Any

import pytest

from plimsoll_operator import planner_service
from plimsoll_operator.kinds import RESOURCE, REVISION
from plimsoll_operator.planning.model_source import ModelSourceError
from plimsoll_operator.planning.record import request_of
from plimsoll_operator.planning.status import plan_status
from plimsoll_planner.planner import plan
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.process import Start, edit, fresh


def revisions(cluster: MemoryCluster) -> dict[str, dict[str, Any]]:
    return {key[2]: item for key, item in cluster.objects.items() if key[0] == REVISION.name}


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

    monkeypatch.setattr(planner_service, "read_model_config", down)
    await start(cluster).settle()
    assert revisions(cluster) == {}
    assert status(cluster) == before


async def test_the_store_keeps_no_data(start: Start) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.settle()
    (kept,) = process.store.all(REVISION.name)
    assert set(kept) == {"metadata", "revision"}

"""A rollback by the whole loop over a cluster in memory, which may crash at any write."""

import copy
from typing import Any

import pytest

from plimsoll_operator.kube.kinds import RESOURCE, REVISION
from tests.unit.plimsoll_operator.memory_cluster import CrashError, MemoryCluster
from tests.unit.plimsoll_operator.played_rollouts import TIMED_OUT
from tests.unit.plimsoll_operator.process import KEY, Process, Start, condition, edit, fresh

BROKEN = {"source": "builtin://tiny", "servedName": "broken"}


def status(cluster: MemoryCluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.objects[RESOURCE.name, "ml", "chat"]["status"]
    return found


def template(cluster: MemoryCluster) -> Any:
    return cluster.objects["Deployment", "ml", "chat"]["spec"]["template"]


def play(cluster: MemoryCluster, served: Any) -> None:
    """The Deployment's controller: the template that served is done, any other times out."""
    item = cluster.objects["Deployment", "ml", "chat"]
    if item["spec"]["template"] == served:
        cluster.roll_out()
        return
    late = {
        "observedGeneration": item["metadata"]["generation"],
        "replicas": 2,
        "updatedReplicas": 1,
        "readyReplicas": 1,
        "conditions": [TIMED_OUT],
    }
    if item.get("status") != late:
        cluster.put("Deployment", {**item, "status": late})


async def settle(process: Process, served: Any) -> None:
    for _ in range(20):
        before = len(process.cluster.writes)
        await process.sync()
        await process.controller.reconcile(KEY)
        play(process.cluster, served)
        if len(process.cluster.writes) == before:
            return
    raise RuntimeError("does not come to rest")


async def broken(start: Start) -> tuple[MemoryCluster, Any]:
    """Something that serves, and an edit that will not."""
    cluster = fresh()
    await start(cluster).settle()
    served = template(cluster)
    edit(cluster, model=BROKEN)
    return cluster, served


async def test_it_goes_back_and_stays_there(start: Start) -> None:
    cluster, served = await broken(start)
    first = status(cluster)["currentRevision"]
    process = start(cluster)
    await settle(process, served)
    assert template(cluster) == served
    assert status(cluster)["currentRevision"] == first
    assert condition(cluster, "Stalled")["reason"] == "RolledBack"
    # The revision that serves has the highest number, and is read once.
    numbers = {
        key[2]: item["revision"] for key, item in cluster.objects.items() if "revision" in item
    }
    assert max(numbers, key=numbers.__getitem__) == first
    asked: list[str] = []
    get = cluster.get

    async def counted(kind: Any, namespace: str, name: str) -> Any:
        asked.append(kind.name)
        return await get(kind, namespace, name)

    cluster.get = counted  # type: ignore[method-assign]
    writes = len(cluster.writes)
    for _ in range(3):
        await process.controller.reconcile(KEY)
    assert (asked, len(cluster.writes)) == ([], writes)


async def test_wherever_it_crashes_it_ends_the_same(start: Start) -> None:
    prepared, served = await broken(start)
    cluster = copy.deepcopy(prepared)
    begun = len(cluster.writes)
    await settle(start(cluster), served)
    steps = len(cluster.writes) - begun
    expected = status(cluster), cluster.rendered()
    assert steps >= 6
    for step in range(steps):
        cluster = copy.deepcopy(prepared)
        fatal = len(cluster.writes) + step

        def crash(number: int, fatal: int = fatal) -> None:
            if number == fatal:
                raise CrashError

        cluster.before_write = crash
        with pytest.raises(CrashError):
            await settle(start(cluster), served)
        cluster.before_write = lambda _: None
        play(cluster, served)
        await settle(start(cluster), served)
        found = status(cluster), cluster.rendered()
        assert _timeless(found[0]) == _timeless(expected[0]), step
        assert found[1] == expected[1], step


async def test_a_revision_that_is_lost_is_told_and_nothing_is_touched(start: Start) -> None:
    cluster, served = await broken(start)
    first = status(cluster)["currentRevision"]
    await settle(start(cluster), served)
    before = cluster.objects["Deployment", "ml", "chat"]
    del cluster.objects[REVISION.name, "ml", first]
    await settle(start(cluster), served)
    assert condition(cluster, "Stalled")["reason"] == "RevisionLost"
    assert cluster.objects["Deployment", "ml", "chat"] == before


def _timeless(found: dict[str, Any]) -> dict[str, Any]:
    conditions = [
        {name: value for name, value in item.items() if name != "lastTransitionTime"}
        for item in found["conditions"]
    ]
    return {**found, "conditions": conditions}

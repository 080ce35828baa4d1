"""The loop over a cluster in memory: crashes, refusals and stale caches end in the same state."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from plimsoll_operator import controller
from plimsoll_operator.kube.api_server import ClusterError
from plimsoll_operator.kube.kinds import RESOURCE, REVISION, Kind
from plimsoll_operator.render.deployment import pod_template
from plimsoll_operator.rollouts import pod_source
from tests.unit.plimsoll_operator.memory_cluster import CrashError, MemoryCluster
from tests.unit.plimsoll_operator.process import EASY, KEY, Start, condition, edit, fresh
from tests.unit.plimsoll_operator.samples import raw_resource


async def test_makes_no_children_for_a_resource_whose_end_was_not_seen(start: Start) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.settle()
    gone = cluster.objects.pop((RESOURCE.name, "ml", "chat"))
    for key in [key for key in cluster.objects if key[0] not in ("Node", RESOURCE.name)]:
        item = cluster.objects.pop(key)
        process.store.remove(key[0], item)
    before = len(cluster.writes)
    assert process.store.get(RESOURCE.name, *KEY)
    assert not await process.controller.reconcile(KEY)
    assert len(cluster.writes) == before
    assert process.store.get(RESOURCE.name, *KEY) is None
    # One that has taken the name since is served, by its own right.
    process = start(cluster)
    cluster.put(RESOURCE.name, gone)
    await process.sync()
    cluster.put(RESOURCE.name, raw_resource(spec=EASY, metadata={"uid": "new"}))
    assert not await process.controller.reconcile(KEY)
    assert process.controller.queue
    await process.settle()
    owners = cluster.objects["Deployment", "ml", "chat"]["metadata"]["ownerReferences"]
    assert [owner["uid"] for owner in owners] == ["new"]


@pytest.mark.parametrize(("seconds", "asked"), [(float("inf"), 0), (0.0, 1)])
async def test_a_resource_that_has_just_been_written_is_not_asked_for(
    start: Start, monkeypatch: pytest.MonkeyPatch, seconds: float, asked: int
) -> None:
    monkeypatch.setattr(controller, "SEEN_SECONDS", seconds)
    cluster, kinds = fresh(), []
    get = cluster.get

    async def count(kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        kinds.append(kind)
        return await get(kind, namespace, name)

    monkeypatch.setattr(cluster, "get", count)
    process = start(cluster)
    await process.sync()
    await process.controller.reconcile(KEY)
    assert ("apply", "Deployment", "chat") in cluster.writes
    assert kinds.count(RESOURCE) == asked


async def test_nothing_is_made_for_a_resource_that_went_before_its_first_status(
    start: Start,
) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.sync()
    del cluster.objects[RESOURCE.name, "ml", "chat"]
    assert not await process.controller.reconcile(KEY)
    assert [verb for verb, _, _ in cluster.writes] == ["status"]


def without(items: dict[Any, Any], keys: set[Any]) -> dict[Any, Any]:
    return {key: item for key, item in items.items() if key not in keys}


@pytest.mark.parametrize("mode", ["Automatic", "External"])
async def test_a_schedule_raises_the_count_and_not_the_plan(start: Start, mode: str) -> None:
    always = {"name": "day", "start": "00:00", "end": "00:00", "minReplicas": 2}
    cluster = fresh({**EASY, "scaling": {"mode": mode, "maxReplicas": 4, "schedules": [always]}})
    await start(cluster).settle()
    status = cluster.objects[RESOURCE.name, "ml", "chat"]["status"]
    assert status["plan"]["replicas"] == 1
    assert cluster.objects["Deployment", "ml", "chat"]["spec"]["replicas"] == 2
    if mode == "Automatic":
        told = condition(cluster, "AutoscalingActive")["message"]
        assert told.endswith("; schedule day: at least 2 replicas")


EXTERNAL = {**EASY, "scaling": {"mode": "External", "maxReplicas": 4}}


async def test_an_autoscaler_outside_finds_a_number_to_begin_with(start: Start) -> None:
    cluster = fresh(EXTERNAL)
    await start(cluster).settle()
    assert cluster.objects[RESOURCE.name, "ml", "chat"]["spec"]["replicas"] == 1
    assert [verb for verb, _, _ in cluster.writes].count("scale") == 1
    assert condition(cluster, "Ready")["status"] == "True"
    edit(cluster, replicas=3)
    await start(cluster).settle()
    assert cluster.objects["Deployment", "ml", "chat"]["spec"]["replicas"] == 3
    assert [verb for verb, _, _ in cluster.writes].count("scale") == 1


async def test_what_an_autoscaler_asks_meanwhile_is_not_undone(start: Start) -> None:
    cluster = fresh(EXTERNAL)
    process = start(cluster)
    await process.sync()

    def ask(count: int) -> None:
        # The first write is a status, whose answer brings the version that /scale is written to.
        if count == 1:
            edit(cluster, replicas=4)

    cluster.before_write = ask
    with pytest.raises(ClusterError, match="409"):
        await process.controller.reconcile(KEY)
    await process.settle()
    assert cluster.objects[RESOURCE.name, "ml", "chat"]["spec"]["replicas"] == 4
    assert cluster.objects["Deployment", "ml", "chat"]["spec"]["replicas"] == 4


async def test_from_nothing_to_ready_and_then_silence(start: Start) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.settle()
    assert condition(cluster, "Ready")["status"] == "True"
    assert [verb for verb, _, _ in cluster.writes].count("apply") == 7
    reasons = [event["reason"] for event in cluster.events]
    assert reasons == ["Planned", "RolledOut"]
    before = len(cluster.writes)
    for _ in range(5):
        await process.sync()
        assert not await process.controller.reconcile(KEY)
    assert len(cluster.writes) == before


async def test_ready_exists_before_anything_slow(start: Start) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.sync()
    await process.controller.reconcile(KEY)
    assert cluster.writes[0] == ("status", RESOURCE.name, "chat")


async def test_crash_at_every_write_ends_in_the_same_bytes(start: Start) -> None:
    steps: list[Callable[[MemoryCluster], None]] = [
        lambda cluster: None,
        lambda cluster: edit(cluster, model={"source": "builtin://tiny", "servedName": "other"}),
        lambda cluster: edit(cluster, pin={"maxNumSeqs": 4}),
        lambda cluster: edit(cluster, pin={"maxNumSeqs": 1024}),
    ]

    async def life(crash_at: int | None) -> tuple[MemoryCluster, int]:
        cluster = fresh()

        def crash(write: int) -> None:
            if write == crash_at:
                cluster.before_write = lambda _: None
                raise CrashError

        cluster.before_write = crash
        process = start(cluster)
        for step in steps:
            step(cluster)
            try:
                await process.settle()
            except CrashError:
                process = start(cluster)
                await process.settle()
        return cluster, len(cluster.writes)

    wanted, writes = await life(None)
    assert writes >= 20
    assert condition(wanted, "Ready")["status"] == "True"
    for crash_at in range(writes):
        cluster, _ = await life(crash_at)
        assert cluster.rendered() == wanted.rendered(), crash_at
        assert condition(cluster, "Ready")["status"] == "True", crash_at


@pytest.mark.parametrize("status", [409, 429, 500, 503, 0])
async def test_a_refused_write_is_made_good_later(start: Start, status: int) -> None:
    cluster = fresh()
    process = start(cluster)

    def refuse(write: int) -> None:
        assert ClusterError(status, "", "").transient
        if write in (1, 3, 6):
            cluster.before_write = lambda later: refuse(later) if later != write else None
            raise ClusterError(status, "Refused", "not now")

    cluster.before_write = refuse
    for _ in range(10):
        await process.sync()
        with contextlib.suppress(ClusterError):
            await process.controller.reconcile(KEY)
    cluster.roll_out()
    await process.settle()
    assert condition(cluster, "Ready")["status"] == "True"


async def test_stale_caches_do_no_harm(start: Start) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.settle()
    wanted = cluster.rendered()
    stale = start(cluster)
    await stale.sync()
    edit(cluster, pin={"maxNumSeqs": 4})
    await process.settle()
    edit(cluster, pin={})
    await process.settle()
    # The stale process acts on what it saw before both edits.
    await stale.controller.reconcile(KEY)
    await process.settle()
    after = cluster.rendered()
    history = {key for key in after if key[0] == REVISION.name}
    assert sorted(after[key]["revision"] for key in history) == [2, 3]
    assert without(after, history) == without(wanted, history)


async def test_two_at_once_end_in_the_same_bytes(start: Start) -> None:
    cluster = fresh()
    one, two = start(cluster), start(cluster)
    await asyncio.gather(one.settle(), two.settle())
    await one.settle()
    alone = fresh()
    await start(alone).settle()
    assert cluster.rendered() == alone.rendered()


async def test_a_restart_changes_nothing(start: Start) -> None:
    cluster = fresh()
    await start(cluster).settle()
    before = len(cluster.writes)
    # Even where nodes have gone that a new plan would miss.
    del cluster.objects["Node", "", "node"]
    await start(cluster).settle()
    assert len(cluster.writes) == before


async def test_a_status_by_a_later_version_stands(start: Start) -> None:
    """As after an upgrade that is taken back, or beside an operator that is upgraded first."""
    cluster = fresh()
    await start(cluster).settle()
    raw = cluster.objects[RESOURCE.name, "ml", "chat"]
    plan = {**raw["status"]["plan"], "later": "x"}
    later = {**raw["status"], "plan": plan, "later": [{"of": "a version to come"}]}
    cluster.put(RESOURCE.name, {**raw, "status": later})
    del cluster.objects["Node", "", "node"]  # a new plan would miss it
    before = len(cluster.writes)
    await start(cluster).settle()
    assert len(cluster.writes) == before


async def test_a_resource_that_was_deleted_without_its_children_finds_them(start: Start) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.settle()
    edit(cluster, model={**EASY["model"], "servedName": "other"})
    await process.settle()
    before, pods = cluster.rendered(), cluster.objects["Deployment", "ml", "chat"]["spec"]
    revisions = [key for key in cluster.objects if key[0] == REVISION.name]
    assert len(revisions) == 2
    for key, item in cluster.objects.items():
        if item["metadata"].pop("ownerReferences", None):
            cluster.put(key[0], item)
    spec = cluster.objects[RESOURCE.name, "ml", "chat"]["spec"]
    cluster.put(RESOURCE.name, raw_resource(spec=spec, metadata={"uid": "another"}))
    await start(cluster).settle()
    after = cluster.rendered()
    assert set(after) == set(before)
    for item in after.values():
        assert [each["uid"] for each in item["metadata"]["ownerReferences"]] == ["another"]
    assert cluster.objects["Deployment", "ml", "chat"]["spec"] == pods
    assert condition(cluster, "Ready")["status"] == "True"
    assert [key for key in cluster.objects if key[0] == REVISION.name] == revisions


async def test_infeasible_then_repaired(start: Start) -> None:
    cluster = fresh({**EASY, "slo": {"timeToFirstToken": {"p95": "0.001ms"}}})
    process = start(cluster)
    await process.settle()
    assert condition(cluster, "SLOFeasible")["status"] == "False"
    assert cluster.rendered() == {}
    edit(cluster, slo=EASY["slo"])
    await process.settle()
    assert condition(cluster, "Ready")["status"] == "True"
    assert condition(cluster, "SLOFeasible")["status"] == "True"


async def test_an_unlabelled_object_of_our_name_is_seen_and_left(start: Start) -> None:
    cluster = fresh()
    mine = {"metadata": {"namespace": "ml", "name": "chat"}, "spec": {"mine": True}}
    cluster.put("Service", mine)
    before = cluster.objects["Service", "ml", "chat"]
    process = start(cluster)
    await process.settle()
    assert cluster.objects["Service", "ml", "chat"] == before
    assert condition(cluster, "Stalled")["reason"] == "NameTaken"
    assert set(cluster.rendered()) == {("Service", "ml", "chat")}


async def test_config_map_that_is_missing_is_trouble_until_it_comes(start: Start) -> None:
    config = {"configMapKeyRef": {"name": "facts"}}
    spec = {**EASY, "model": {"source": "pvc://claim/model", "configFrom": config}}
    cluster = fresh(spec)
    process = start(cluster)
    await process.settle()
    stalled = condition(cluster, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "ModelConfigUnavailable")
    assert "ConfigMap facts" in stalled["message"]
    from importlib.resources import files

    text = (files("plimsoll_runtime") / "builtin" / "tiny" / "config.json").read_text("utf-8")
    cluster.put(
        "ConfigMap",
        {"metadata": {"namespace": "ml", "name": "facts"}, "data": {"config.json": text}},
    )
    await process.settle()
    assert condition(cluster, "Ready")["status"] == "True"


async def test_a_stored_spec_that_is_invalid_is_said(start: Start) -> None:
    cluster = fresh({"model": {"source": "s3://bucket"}})
    process = start(cluster)
    await process.settle()
    assert condition(cluster, "Stalled")["reason"] == "InvalidSpec"
    assert cluster.rendered() == {}


async def test_workers_retry_and_survive_everything(start: Start) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.sync()
    failures = [ValueError("a bug"), ClusterError(500, "", "down"), KeyError("another bug")]

    def fail(_: int) -> None:
        if failures:
            raise failures.pop()

    cluster.before_write = fail
    worker = asyncio.create_task(process.controller.work())
    process.controller.queue.add(KEY)
    async with asyncio.timeout(10):
        while ("Deployment", "ml", "chat") not in cluster.objects:
            await asyncio.sleep(0.05)
    assert not worker.done()
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)


async def test_a_resource_that_is_gone_is_no_work(start: Start) -> None:
    process = start(MemoryCluster())
    assert not await process.controller.reconcile(KEY)
    assert process.cluster.writes == []


async def test_a_live_edit_renders_what_pods_were_started_by_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = fresh({**EASY, "pin": {"maxNumSeqs": 16}})
    process = start(cluster)
    await process.settle()
    edit(cluster, pin={"maxNumSeqs": 8})
    rendered: list[int] = []

    def render(*arguments: Any) -> dict[str, Any]:
        rendered.append(arguments[2].max_num_seqs)
        return pod_template(*arguments)

    monkeypatch.setattr(pod_source, "pod_template", render)
    await process.sync()
    await process.controller.reconcile(KEY)
    assert rendered == [16]

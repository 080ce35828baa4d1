"""Limits reach real engines over their real admin port, and the status says so."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from time import monotonic
from typing import Any, cast

import pytest

from plimsoll_operator import controller
from plimsoll_operator.engines import engine_admin
from plimsoll_operator.engines.engine_admin import AdminError, EngineAdmin
from plimsoll_operator.engines.limits_keeper import RECHECK_SECONDS, RETRY_SECONDS, LimitsKeeper
from plimsoll_operator.kube.kinds import RESOURCE
from plimsoll_operator.render.labels import pod_labels
from plimsoll_operator.resource import Key
from plimsoll_operator.rollouts.live_limits import NO_REPORT, EngineReport
from plimsoll_runtime.core.limits import EngineLimits, LiveLimits
from tests.unit.plimsoll_operator.loopback import answer, answering
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.played_engines import Watched, admin_ports
from tests.unit.plimsoll_operator.process import Start, condition, edit, fresh
from tests.unit.plimsoll_operator.samples import cpu_plan

KEY = ("ml", "chat")
PODS = (("chat-1", "127.0.0.1"),)
STARTED = cpu_plan(max_num_batched_tokens=256)
FEWER = cpu_plan(revision="fewer", max_num_seqs=4, max_num_batched_tokens=128)


@pytest.fixture
def engine() -> Iterator[Watched]:
    engine = Watched(EngineLimits(512, 8192, max_model_len=1024, num_blocks=8192))
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
async def port(engine: Watched) -> AsyncIterator[int]:
    """The engine's admin port, on loopback."""
    async with admin_ports([engine]) as (port, _):
        yield port


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def keeper(port: int, clock: Clock) -> AsyncIterator[LimitsKeeper]:
    client = EngineAdmin(port, lambda: None)
    yield LimitsKeeper(client, clock)
    await client.close()


async def test_sends_what_differs_once(keeper: LimitsKeeper, engine: Watched, clock: Clock) -> None:
    report = await keeper.keep(KEY, FEWER, STARTED, PODS)
    assert engine.changes == [LiveLimits(4, 128, 8192)]
    assert report.lacking == ()
    assert report.status is not None
    assert (report.status.max_num_seqs, report.status.kv_cache_tokens) == (4, 8192 * 16)
    for _ in range(3):
        clock.now += RECHECK_SECONDS + 1
        assert await keeper.keep(KEY, FEWER, STARTED, PODS) == report
    assert len(engine.changes) == 1
    # Back to the start, and a hand that changes them meanwhile.
    await keeper.keep(KEY, STARTED, STARTED, PODS)
    assert engine.live == LiveLimits(8, 256, 8192)
    engine.by_hand(LiveLimits(1, 256, 8192))
    clock.now += RECHECK_SECONDS + 1
    await keeper.keep(KEY, STARTED, STARTED, PODS)
    assert engine.live == LiveLimits(8, 256, 8192)


async def test_a_pod_that_has_restarted_is_asked_at_once(
    keeper: LimitsKeeper, engine: Watched
) -> None:
    await keeper.keep(KEY, FEWER, STARTED, PODS)
    engine.by_hand(engine.limits.live)
    await keeper.keep(KEY, FEWER, STARTED, PODS)
    assert len(engine.changes) == 1
    assert (await keeper.keep(KEY, FEWER, STARTED, ())).status is None
    await keeper.keep(KEY, FEWER, STARTED, PODS)
    assert engine.changes == [LiveLimits(4, 128, 8192)] * 2


async def test_an_engine_that_does_not_answer_is_said_and_asked_again(
    keeper: LimitsKeeper, engine: Watched, clock: Clock
) -> None:
    broken = EngineAdmin(1, lambda: None)
    working, keeper._admin = keeper._admin, broken
    report = await keeper.keep(KEY, FEWER, STARTED, PODS)
    assert report.status is None
    assert report.lacking == ("admin port not reachable (ConnectError)",)
    # Pods that were started under these limits need no answer.
    assert (await keeper.keep(KEY, STARTED, STARTED, PODS)).lacking == ()
    keeper._admin = working
    assert (await keeper.keep(KEY, FEWER, STARTED, PODS)).lacking == ()
    keeper._admin = broken
    # They do if they were last heard of under others.
    assert len((await keeper.keep(KEY, STARTED, STARTED, PODS)).lacking) == 1
    keeper._admin = working
    assert len((await keeper.keep(KEY, STARTED, STARTED, PODS)).lacking) == 1
    clock.now += RETRY_SECONDS
    assert (await keeper.keep(KEY, STARTED, STARTED, PODS)).lacking == ()
    assert engine.live == LiveLimits(8, 256, 8192)
    await broken.close()


class Slow:
    """An engine that takes its time, and then does not answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = asyncio.Event()

    async def limits(self, address: str) -> EngineReport:
        self.asked += 1
        await self.answer.wait()
        raise AdminError("no answer within 2 s")


async def test_nobody_waits_for_an_engine_that_needs_nothing() -> None:
    slow = Slow()
    late: list[Key] = []
    keeper = LimitsKeeper(cast("EngineAdmin", slow))
    for _ in range(3):
        began = monotonic()
        report = await keeper.look(KEY, STARTED, STARTED, PODS, late.append)
        assert report == NO_REPORT
        assert monotonic() - began < 1
    assert (slow.asked, late) == (1, [])
    slow.answer.set()
    async with asyncio.timeout(5):
        while not late:
            await asyncio.sleep(0.01)
    assert late == [KEY]
    # What should change is waited for, and its lack is said.
    report = await keeper.look(KEY, FEWER, STARTED, PODS, late.append)
    assert report.lacking == ("no answer within 2 s",)
    # And what was said of other limits says nothing of these.
    slow.answer.clear()
    other = cpu_plan(revision="other", max_num_seqs=6)
    assert await keeper.look(KEY, other, other, PODS, late.append) == NO_REPORT


async def test_what_is_asked_of_a_resource_that_is_gone_is_dropped() -> None:
    slow = Slow()
    late: list[Key] = []
    keeper = LimitsKeeper(cast("EngineAdmin", slow))
    await keeper.look(KEY, STARTED, STARTED, PODS, late.append)
    keeper.forget(KEY)
    slow.answer.set()
    await asyncio.sleep(0.05)
    assert late == []


def put_pod(cluster: MemoryCluster, name: str, plan: str) -> None:
    status = {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
    metadata = {"namespace": "ml", "name": name, "labels": pod_labels("chat", plan)}
    cluster.put("Pod", {"metadata": metadata, "status": status})


def status_of(cluster: MemoryCluster) -> dict[str, Any]:
    return dict(cluster.objects[RESOURCE.name, "ml", "chat"]["status"])


def container(cluster: MemoryCluster) -> dict[str, Any]:
    (found,) = cluster.objects["Deployment", "ml", "chat"]["spec"]["template"]["spec"]["containers"]
    return dict(found)


async def test_an_edit_goes_to_engines_and_not_to_the_deployment(
    start: Start, engine: Watched, port: int
) -> None:
    cluster = fresh()
    await start(cluster, port).settle()
    before = cluster.objects["Deployment", "ml", "chat"]
    revision = status_of(cluster)["plan"]["revision"]
    put_pod(cluster, "chat-1", revision)
    put_pod(cluster, "chat-0", "an older plan, on its way out")
    edit(cluster, pin={"maxNumSeqs": 8, "maxNumBatchedTokens": 64})
    await start(cluster, port).settle()
    assert engine.live[:2] == (8, 64)
    assert cluster.objects["Deployment", "ml", "chat"] == before
    assert condition(cluster, "Ready")["status"] == "True"
    status = status_of(cluster)
    assert status["plan"]["maxNumSeqs"] == status["limits"]["maxNumSeqs"] == 8
    assert status["plan"]["revision"] != status["limits"]["startedRevision"] == revision
    assert status["limits"]["replicas"] == 1
    assert len(engine.changes) == 1
    # At rest nothing is written, neither here nor there, by this process or the next.
    writes = len(cluster.writes)
    await start(cluster, port).settle()
    assert (len(cluster.writes), len(engine.changes)) == (writes, 1)
    edit(cluster, pin={})
    await start(cluster, port).settle()
    plan = status_of(cluster)["plan"]
    assert engine.live[:2] == (plan["maxNumSeqs"], plan["maxNumBatchedTokens"]) != (8, 64)
    assert cluster.objects["Deployment", "ml", "chat"] == before
    # Beyond what they were started with, pods are replaced.
    edit(cluster, pin={"maxNumSeqs": 1024})
    await start(cluster, port).settle()
    assert "--max-num-seqs=1024" in container(cluster)["args"]


async def test_limits_that_take_a_larger_replica_restart_it(
    start: Start, engine: Watched, port: int
) -> None:
    """One request at once is too few for half a core to serve the rate that was declared."""
    cluster = fresh()
    await start(cluster, port).settle()
    before = status_of(cluster)["plan"]
    put_pod(cluster, "chat-1", before["revision"])
    edit(cluster, pin={"maxNumSeqs": 1})
    await start(cluster, port).settle()
    plan = status_of(cluster)["plan"]
    assert (before["cpuCores"], plan["cpuCores"], plan["maxNumSeqs"]) == ("0.5", "1", 1)
    engine_container = container(cluster)
    assert engine_container["resources"]["requests"]["cpu"] == "1"
    assert "--max-num-seqs=1" in engine_container["args"]
    assert engine.changes == []


async def test_one_that_refuses_is_not_ready_and_asked_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "RETRY_SECONDS", 0.01)
    cluster = fresh()
    process = start(cluster)
    await process.settle()
    put_pod(cluster, "chat-1", status_of(cluster)["plan"]["revision"])
    edit(cluster, pin={"maxNumSeqs": 8, "maxNumBatchedTokens": 64})
    await process.settle()
    ready = condition(cluster, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ChangingLimits")
    assert "1 replica has not taken maxNumSeqs 8" in ready["message"]
    async with asyncio.timeout(2):
        assert await process.controller.queue.get() == KEY
    assert "ChangingLimits" not in [event["reason"] for event in cluster.events]


ERROR = json.dumps({"error": {"message": "not let in: no token"}})


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (answer(ERROR, "401 Unauthorized"), "HTTP 401 not let in: no token"),
        (answer("<html>", "404 Not Found"), "HTTP 404"),
        (answer("{}"), "/admin/limits does not answer with what it should"),
        (answer("[]"), "/admin/limits does not answer with what it should"),
        (answer("x" * 70000), "/admin/limits answers with more than 65536 bytes"),
        (b"nothing of the kind\r\n\r\n", "admin port not reachable (RemoteProtocolError)"),
        (b"", "no answer within 0.2 s"),
    ],
)
async def test_bad_answers_end_soon(told: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not told:
        monkeypatch.setattr(engine_admin, "TIMEOUT_SECONDS", 0.2)
    async with answering(lambda writer: writer.write(told)) as (port, seen):
        client = EngineAdmin(port, lambda: "our-token")
        try:
            with pytest.raises(AdminError) as error:
                await client.limits("127.0.0.1")
        finally:
            await client.close()
    assert str(error.value) == why
    assert b"authorization: bearer our-token" in seen[0].lower()

"""Replicas that should go are drained over real admin ports, by operators that remember nothing."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from plimsoll_operator.engines import drain_reports, engine_admin, limits_keeper
from plimsoll_operator.kube.kinds import RESOURCE
from plimsoll_operator.render.labels import pod_labels
from plimsoll_operator.scaling.victims import DRAIN_SECONDS, LEASE_SECONDS
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.server.context import Context
from plimsoll_runtime.server.lifecycle import Lifecycle
from tests.unit.plimsoll_operator.loopback import answer, answering
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.played_engines import Watched, admin_ports
from tests.unit.plimsoll_operator.process import EASY, Start, condition, edit, fresh

BUSY, IDLE = "127.0.0.1", "127.0.0.2"
NOT_DRAINING = '{"draining": false, "seconds": 0, "running": 0, "waiting": 0, "kv_cache_usage": 0}'
BOUNDS = {"minReplicas": 1, "maxReplicas": 4, "mode": "External"}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Site:
    """Two ready replicas on a cluster, one of them busy, and their engines."""

    def __init__(
        self, cluster: MemoryCluster, start: Start, port: int, engines: list[Watched]
    ) -> None:
        self.cluster, self.port, self.engines = cluster, port, engines
        self._start = start
        self.contexts: list[Context] = []
        self.plan = ""

    async def look(self) -> None:
        """A new operator looks until it has nothing to write."""
        await self._start(self.cluster, self.port).settle()

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.cluster.objects[RESOURCE.name, "ml", "chat"]["status"])

    @property
    def asked(self) -> int:
        return int(self.cluster.objects["Deployment", "ml", "chat"]["spec"]["replicas"])

    @property
    def drains(self) -> list[bool]:
        return [context.lifecycle.draining for context in self.contexts]

    def put_pod(self, name: str, address: str, **changes: Any) -> None:
        ready = changes.pop("ready", True)
        container = {"name": "engine", "ready": ready, "started": changes.pop("started", True)}
        conditions = [{"type": "Ready", "status": str(ready)}]
        status = {"phase": "Running", "podIP": address, "conditions": conditions}
        metadata = {"namespace": "ml", "name": name, "labels": pod_labels("chat", self.plan)}
        known = self.cluster.objects.get(("Pod", "ml", name), {}).get("metadata", {})
        pod = {"metadata": {**known, **metadata}, "status": status}
        self.cluster.put("Pod", {**pod, "status": {**status, "containerStatuses": [container]}})


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that answers late, on a busy machine, is not what is tested here."""
    monkeypatch.setattr(engine_admin, "TIMEOUT_SECONDS", 30.0)
    monkeypatch.setattr(limits_keeper, "PROMPT_SECONDS", 30.0)
    monkeypatch.setattr(drain_reports, "PROMPT_SECONDS", 30.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def site(start: Start, clock: Clock) -> AsyncIterator[Site]:
    engines = [Watched(EngineLimits(512, 8192, max_model_len=1024, num_blocks=8192)) for _ in "ab"]
    cluster = fresh({**EASY, "scaling": BOUNDS, "replicas": 2})
    async with admin_ports(engines) as (port, contexts):
        site = Site(cluster, start, port, engines)
        site.contexts = contexts
        for context in contexts:
            context.lifecycle = Lifecycle(clock)
        await site.look()
        site.plan = site.status["plan"]["revision"]
        engines[0].wait_for(3)
        site.put_pod("busy", BUSY)
        site.put_pod("idle", IDLE)
        await site.look()
        assert (site.asked, site.drains) == (2, [False, False])
        yield site
    for engine in engines:
        engine.stop()


async def test_the_idle_one_drains_and_then_the_count_falls(site: Site) -> None:
    edit(site.cluster, replicas=1)
    await site.look()
    assert (site.asked, site.drains) == (2, [False, True])
    assert site.status["draining"] == ["idle"]
    # Not less ready for it, and it says why there are still two.
    assert condition(site.cluster, "Ready")["status"] == "True"
    scaling = condition(site.cluster, "AutoscalingActive")["message"]
    assert scaling.endswith("; 1 replica drains, and goes when its requests have ended")
    writes = len(site.cluster.writes)
    await site.look()
    assert len(site.cluster.writes) == writes
    # Nothing is in flight there, but the ReplicaSet does not know yet whom to delete.
    site.put_pod("idle", IDLE, ready=False)
    await site.look()
    assert (site.asked, site.drains) == (1, [False, True])
    assert condition(site.cluster, "Ready")["status"] == "True"
    site.cluster.objects.pop(("Pod", "ml", "idle"))
    await site.look()
    assert (site.asked, "draining" in site.status) == (1, False)
    assert "drains" not in condition(site.cluster, "AutoscalingActive")["message"]


async def test_taken_back_when_it_is_wanted_again(site: Site) -> None:
    edit(site.cluster, replicas=1)
    await site.look()
    site.put_pod("idle", IDLE, ready=False)
    edit(site.cluster, replicas=2)
    await site.look()
    assert (site.asked, site.drains) == (2, [False, False])
    assert "draining" not in site.status


async def test_goes_with_requests_in_flight_when_its_time_is_over(site: Site, clock: Clock) -> None:
    site.engines[1].wait_for(1)
    edit(site.cluster, replicas=1)
    await site.look()
    site.put_pod("idle", IDLE, ready=False)
    clock.now += DRAIN_SECONDS - 1
    await site.look()
    assert site.asked == 2
    clock.now += 1
    await site.look()
    assert site.asked == 1


async def test_goes_as_soon_as_its_requests_have_ended(site: Site) -> None:
    site.engines[1].wait_for(1)
    edit(site.cluster, replicas=1)
    await site.look()
    site.put_pod("idle", IDLE, ready=False)
    await site.look()
    assert (site.asked, site.drains) == (2, [False, True])
    site.engines[1].finish()
    await site.look()
    assert site.asked == 1


async def test_an_operator_that_is_gone_for_good_takes_no_replica_away(
    site: Site, clock: Clock
) -> None:
    edit(site.cluster, replicas=1)
    await site.look()
    clock.now += LEASE_SECONDS
    assert site.drains == [False, False]


async def test_one_that_does_not_serve_goes_before_anybody_drains(site: Site) -> None:
    edit(site.cluster, replicas=3)
    await site.look()
    site.put_pod("new", "127.0.0.3", ready=False, started=False)
    edit(site.cluster, replicas=2)
    await site.look()
    assert (site.asked, site.drains) == (2, [False, False])


async def test_in_a_rollout_nobody_drains(site: Site) -> None:
    edit(site.cluster, replicas=1)
    await site.look()
    assert site.drains == [False, True]
    site.put_pod("idle", IDLE, ready=False)
    other, site.plan = site.plan, "another"
    site.put_pod("new", "127.0.0.3", ready=False, started=False)
    await site.look()
    assert (site.asked, site.drains) == (1, [False, False])
    site.plan = other


async def test_pods_of_an_earlier_template_that_are_ending_are_no_rollout(site: Site) -> None:
    """They may take a minute, in which the busy replica would go as well as the idle one."""
    plan, site.plan = site.plan, "earlier"
    site.put_pod("old", "127.0.0.3", ready=False)
    site.plan = plan
    site.cluster.objects["Pod", "ml", "old"]["metadata"]["deletionTimestamp"] = (
        "2026-01-01T00:01:00Z"
    )
    edit(site.cluster, replicas=1)
    await site.look()
    assert (site.asked, site.drains) == (2, [False, True])


async def test_who_is_refused_a_lower_count_drains_nobody(site: Site) -> None:
    resource = site.cluster.objects[RESOURCE.name, "ml", "chat"]
    refused = [
        {**item, "reason": "ChildRefused"} if item["type"] == "AutoscalingActive" else item
        for item in resource["status"]["conditions"]
    ]
    status = {**resource["status"], "conditions": refused}
    site.cluster.put(RESOURCE.name, {**resource, "status": status})
    edit(site.cluster, replicas=1)
    process = site._start(site.cluster, site.port)
    await process.sync()
    await process.controller.reconcile(("ml", "chat"))
    assert (site.asked, site.drains) == (1, [False, False])


@pytest.mark.parametrize(
    "told",
    [
        answer("{}", "404 Not Found"),
        answer('{"draining": true}'),
        answer(
            '{"draining": false, "seconds": NaN, "running": 0, "waiting": 0, "kv_cache_usage": 0}'
        ),
        answer("", "401 Unauthorized"),
    ],
    ids=["older", "incomplete", "absurd", "lets nobody in"],
)
async def test_an_engine_that_cannot_be_drained_goes_as_it_is(start: Start, told: bytes) -> None:
    await _falls_at_once(start, lambda _: told)


async def test_an_engine_that_only_tells_goes_as_it_is(start: Start) -> None:
    """As one that trusts nobody: it lets others read, and change nothing."""
    refuses = answer('{"error": {"message": "over loopback only"}}', "403 Forbidden")
    await _falls_at_once(
        start, lambda head: refuses if head.startswith(b"PUT") else answer(NOT_DRAINING)
    )


async def _falls_at_once(start: Start, told: Callable[[bytes], bytes]) -> None:
    cluster = fresh({**EASY, "scaling": BOUNDS, "replicas": 2})
    heads: list[list[bytes]] = []
    async with answering(lambda writer: writer.write(told(heads[0][-1]))) as (port, seen):
        heads.append(seen)
        site = Site(cluster, start, port, [])
        await site.look()
        site.plan = site.status["plan"]["revision"]
        site.put_pod("a", BUSY)
        site.put_pod("b", BUSY)
        await site.look()
        assert site.asked == 2
        edit(cluster, replicas=1)
        await site.look()
    assert site.asked == 1
    assert "draining" not in site.status

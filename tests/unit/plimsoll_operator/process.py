"""A controller over a cluster in memory, with caches of its own."""

from collections.abc import Callable
from typing import Any

from plimsoll_operator.controller import Controller, Engines
from plimsoll_operator.engines.calibrator import Calibrator
from plimsoll_operator.engines.drain_keeper import DrainKeeper
from plimsoll_operator.engines.engine_admin import EngineAdmin
from plimsoll_operator.engines.engine_client import EngineClient
from plimsoll_operator.engines.limits_keeper import LimitsKeeper
from plimsoll_operator.engines.scraper import Scraper
from plimsoll_operator.kube.kinds import RESOURCE, WATCHED
from plimsoll_operator.kube.store import Store
from plimsoll_operator.resource import Key
from plimsoll_operator.settings import Settings
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.samples import IMAGE, raw_resource

NOW = "2026-01-31T12:00:00Z"
KEY: Key = ("ml", "chat")
NODE = {
    "metadata": {"name": "node", "labels": {}},
    "status": {
        "allocatable": {"cpu": "16", "memory": "64Gi"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}
EASY = {
    "model": {"source": "builtin://tiny"},
    "slo": {"timeToFirstToken": {"p95": "60s"}, "timePerOutputToken": {"p95": "10s"}},
}


def fresh(spec: dict[str, Any] | None = None) -> MemoryCluster:
    cluster = MemoryCluster()
    cluster.put("Node", NODE)
    cluster.put(RESOURCE.name, raw_resource(spec=spec or EASY))
    return cluster


class Process:
    """A controller with its own caches, as after a start.

    Engines' admin ports are at `admin_port`; pods without an address are never asked.
    """

    def __init__(self, cluster: MemoryCluster, admin_port: int = 1) -> None:
        self.cluster = cluster
        self.store = Store()
        self.engines = EngineClient()
        scraper = Scraper(self.engines, 5, lambda _: None)
        self.calibrator = Calibrator(self.engines, lambda _: None, lambda: NOW)
        self.admin = EngineAdmin(admin_port, lambda: None)
        self.controller = Controller(
            Settings(rendering=IMAGE, trial_requests=0),
            cluster,  # type: ignore[arg-type]
            self.store,
            Engines(scraper, self.calibrator, LimitsKeeper(self.admin), DrainKeeper(self.admin)),
            "test",
        )

    async def sync(self) -> None:
        for kind in WATCHED:
            items, version = await self.cluster.list(kind)
            self.store.replace(kind.name, items, version)

    async def settle(self) -> None:
        """Looks, with fresh caches, until nothing is written."""
        for _ in range(20):
            before = len(self.cluster.writes)
            await self.sync()
            await self.controller.reconcile(KEY)
            self.cluster.roll_out()
            if len(self.cluster.writes) == before:
                return
        raise RuntimeError("does not come to rest")


Start = Callable[..., Process]
"""Takes the cluster, and the engines' admin port where there is one."""


def condition(cluster: MemoryCluster, kind: str) -> dict[str, Any]:
    status = cluster.objects[RESOURCE.name, "ml", "chat"]["status"]
    return next(item for item in status["conditions"] if item["type"] == kind)


def edit(cluster: MemoryCluster, **spec: Any) -> None:
    raw = cluster.objects[RESOURCE.name, "ml", "chat"]
    metadata = {**raw["metadata"], "generation": raw["metadata"]["generation"] + 1}
    cluster.put(RESOURCE.name, {**raw, "metadata": metadata, "spec": {**raw["spec"], **spec}})

"""The running process: store, controller, scraper and the tasks that keep them going."""

import asyncio
import logging
import random
import socket
from collections.abc import Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from plimsoll_operator import metrics
from plimsoll_operator.accelerator_keeper import Accelerators
from plimsoll_operator.controller import Controller, Engines
from plimsoll_operator.engines.admin_access import AdminAccess
from plimsoll_operator.engines.calibrator import Calibrator
from plimsoll_operator.engines.drain_keeper import DrainKeeper
from plimsoll_operator.engines.engine_admin import EngineAdmin
from plimsoll_operator.engines.engine_client import EngineClient
from plimsoll_operator.engines.limits_keeper import LimitsKeeper
from plimsoll_operator.engines.scraper import Scraper
from plimsoll_operator.gather import api_addresses, calibration_target, scales_automatically
from plimsoll_operator.health import HealthServer
from plimsoll_operator.kube.api_server import Cluster, ClusterError
from plimsoll_operator.kube.kinds import ACCELERATOR, NODE, RESOURCE, WATCHED, Kind
from plimsoll_operator.kube.pruning import prune
from plimsoll_operator.kube.store import Store, instance_of
from plimsoll_operator.observed import is_current
from plimsoll_operator.render.labels import ADMIN_PORT
from plimsoll_operator.resource import Key
from plimsoll_operator.settings import Settings

logger = logging.getLogger(__name__)

INVENTORY_SETTLE_SECONDS = 2.0
"""Nodes often come and go together; what waits for them is looked at once they are quiet."""
TELL_AGAIN_SECONDS = 30.0
LIST_AGAIN_SECONDS = 0.5
LIST_AGAIN_LIMIT_SECONDS = 10.0
"""When a list that failed at the start is tried again: twice as late each time, up to this."""
CALIBRATE_SECONDS = 10.0
"""How often it is looked up whose engines may be asked for their steps."""

NO_CRD = (
    "the cluster does not know LLMDeployments and Accelerators: apply crds/ (or "
    "manifests/install.yaml) first"
)


class Manager:
    """Everything that lives as long as the process."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._settings = settings
        self._cluster = cluster
        self._store = Store()
        self._engines = EngineClient(token=settings.engine_token.read)
        self._scraper = Scraper(self._engines, settings.scrape, self._wake)
        self._admin = EngineAdmin(ADMIN_PORT, settings.engine_token.read)
        self._access = AdminAccess(self._store, cluster, settings.engine_token)
        self._calibrator = Calibrator(self._engines, self._wake, _now)
        self._controller = Controller(
            settings,
            cluster,
            self._store,
            Engines(
                self._scraper,
                self._calibrator,
                LimitsKeeper(self._admin),
                DrainKeeper(self._admin),
            ),
            socket.gethostname(),
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = asyncio.Event()
        self._inventory_timer: asyncio.TimerHandle | None = None
        self._accelerators = Accelerators(self._store, cluster, _now)
        self._untold = asyncio.Event()
        self._health = HealthServer(
            settings.http_port, self._alive, lambda: self._store.all(RESOURCE.name)
        )
        self._synced = False
        self._stopping = False

    async def start(self) -> None:
        """Fills the store, then begins to work. Raises ClusterError, as where the CRD is absent.

        An API server that is down or busy is waited for.
        """
        await self._health.start()
        for kind in WATCHED:
            await self._list_first(kind)
        self._synced = self._health.ready = True
        for key in self._store.resource_keys():
            self._wake(key)
        for number in range(self._settings.workers):
            self._spawn(self._controller.work(), f"worker-{number}")
        self._spawn(self._resync(), "resync")
        self._spawn(self._relist(), "relist")
        self._spawn(self._scrape(), "scrape")
        self._spawn(self._calibrate(), "calibrate")
        self._untold.set()
        self._spawn(self._tell_accelerators(), "accelerators")
        self._spawn(self._access.run(), "admin-access")
        count = len(self._store.resource_keys())
        logger.info("serving %d resources with %d workers", count, self._settings.workers)

    async def stop(self) -> None:
        """Ends all tasks; a write in flight may or may not happen, and is safe to repeat."""
        self._health.ready = False
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._controller.close()
        await self._engines.close()
        await self._admin.close()
        await self._health.stop()
        await self._cluster.close()

    async def failed(self) -> None:
        """Returns when a task has ended that should run for ever."""
        await self._ended.wait()
        for task in self._tasks:
            if task.done() and not task.cancelled():
                logger.error("%s ended", task.get_name(), exc_info=task.exception())

    def see(self, kind: str, item: Mapping[str, Any], *, gone: bool) -> None:
        """Takes what a watch shows and wakes whom it concerns."""
        news = self._store.remove(kind, item) if gone else self._store.put(kind, item)
        if news:
            self._concern(kind, item, gone=gone)

    def listed(
        self,
        kind: Kind,
        items: Iterable[Mapping[str, Any]],
        version: str,
        namespace: str | None,
    ) -> list[Mapping[str, Any]]:
        """Takes all objects of a kind, in a namespace if it names one, as they were at `version`;
        wakes whom it concerns what has come, changed or gone. Returns that."""
        changed = self._store.replace(kind.name, items, version, namespace)
        if self._synced:
            for item in changed:
                metadata = item["metadata"]
                within = str(metadata.get("namespace", ""))
                gone = self._store.get(kind.name, within, str(metadata["name"])) is None
                self._concern(kind.name, item, gone=gone)
        return changed

    def _concern(self, kind: str, item: Mapping[str, Any], *, gone: bool) -> None:
        metadata = item["metadata"]
        if kind in (NODE.name, ACCELERATOR.name):
            self._inventory_changed()
            if kind == ACCELERATOR.name:
                self._untold.set()
            return
        namespace = str(metadata["namespace"])
        if kind == RESOURCE.name:
            key = (namespace, str(metadata["name"]))
            self._access.see(namespace, gone=gone)
            if gone:
                self._controller.forget(key, str(metadata["uid"]))
            self._wake(key)
            return
        instance = instance_of(item)
        if instance is not None and self._store.get(RESOURCE.name, namespace, instance):
            self._wake((namespace, instance))

    def _wake(self, key: Key) -> None:
        raw = self._store.get(RESOURCE.name, *key)
        # An edit that nobody has looked at goes before all that earlier ones brought about.
        self._controller.queue.add(key, first=raw is not None and not is_current(raw))

    def _inventory_changed(self) -> None:
        if self._inventory_timer is None and self._synced:
            loop = asyncio.get_running_loop()
            self._inventory_timer = loop.call_later(INVENTORY_SETTLE_SECONDS, self._wake_unplanned)

    def _wake_unplanned(self) -> None:
        self._inventory_timer = None
        for key in self._store.resource_keys():
            raw = self._store.get(RESOURCE.name, *key)
            if raw is not None and not (raw.get("status") or {}).get("planFeasible"):
                self._wake(key)

    async def _list(self, kind: Kind) -> None:
        namespaces = self._settings.namespaces if kind.namespaced else ()
        for namespace in namespaces or (None,):
            try:
                items, version = await self._cluster.list(
                    kind, namespace, partial(prune, kind.name)
                )
            except ClusterError as error:
                if kind in (RESOURCE, ACCELERATOR) and error.status == 404:
                    raise ClusterError(404, "NotFound", NO_CRD) from error
                raise
            changed = self.listed(kind, items, version, namespace)
            if self._synced:
                metrics.CACHE_REPAIRS.labels(kind=kind.name).inc(len(changed))

    async def _list_first(self, kind: Kind) -> None:
        """Lists, and again as long as the API server only says that it cannot now.

        Until then /readyz fails. To end instead would have the kubelet wait for minutes before
        another start. Raises ClusterError where time alone mends nothing.
        """
        delay = LIST_AGAIN_SECONDS
        while True:
            try:
                await self._list(kind)
            except ClusterError as error:
                if not error.transient:
                    raise
                extra = {"child": kind.name, "error": str(error), "delay": delay}
                logger.warning("cannot begin yet", extra=extra)
                await asyncio.sleep(delay)
                delay = min(2 * delay, LIST_AGAIN_LIMIT_SECONDS)
            else:
                return

    async def _resync(self) -> None:
        """Looks at every resource without cause, spread over the period."""
        while True:
            keys = self._store.resource_keys()
            period = self._settings.resync * random.uniform(0.9, 1.1)  # noqa: S311 - only jitter
            for key in keys:
                self._wake(key)
                await asyncio.sleep(period / len(keys))
            if not keys:
                await asyncio.sleep(period)

    async def _relist(self) -> None:
        """Finds what a watch has missed."""
        while True:
            await asyncio.sleep(self._settings.relist)
            for kind in WATCHED:
                try:
                    await self._list(kind)
                except ClusterError as error:
                    logger.warning("list failed", extra={"child": kind.name, "error": str(error)})

    async def _scrape(self) -> None:
        while True:
            targets = []
            for key in filter(self._scraper.due, self._store.resource_keys()):
                addresses = api_addresses(self._store, key)
                resource = self._store.resource(key) if addresses else None
                if resource is not None:
                    targets.append((key, addresses, scales_automatically(resource.spec)))
            self._scraper.tick(targets)
            await asyncio.sleep(1.0)

    async def _calibrate(self) -> None:
        while True:
            await asyncio.sleep(CALIBRATE_SECONDS)
            found = (
                self._store.resource((raw["metadata"]["namespace"], raw["metadata"]["name"]))
                for raw in self._store.all(RESOURCE.name)
                if self._calibrator.due(raw["metadata"]["uid"])
            )
            targets = (
                calibration_target(self._store, resource)
                for resource in found
                if resource is not None
            )
            known = (target for target in targets if target is not None)
            self._calibrator.tick(known, self._controller.facts)

    async def _tell_accelerators(self) -> None:
        """Says of every Accelerator whether plans use it, whenever one has changed."""
        while True:
            await self._untold.wait()
            self._untold.clear()
            try:
                await self._accelerators.tell()
            except ClusterError as error:
                logger.warning("accelerators not told", extra={"error": str(error)})
                await asyncio.sleep(TELL_AGAIN_SECONDS)
                self._untold.set()

    def _on_end(self, _: asyncio.Task[None]) -> None:
        if not self._stopping:
            self._ended.set()

    def _alive(self) -> str:
        """What is wrong with the process, or nothing."""
        ended = [task.get_name() for task in self._tasks if task.done()]
        return f"ended: {', '.join(ended)}" if ended else ""

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(self._on_end)
        self._tasks.append(task)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""Drains replicas before they go, and takes that back: asks engines, tells those that differ."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from plimsoll_operator import metrics
from plimsoll_operator.engines.drain_reports import DrainReports
from plimsoll_operator.engines.engine_admin import AdminError, EngineAdmin
from plimsoll_operator.resource import Key
from plimsoll_operator.scaling.victims import LEASE_SECONDS, Replica, Step, next_step

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 2.0
"""Between two looks at replicas that drain."""


@dataclass(frozen=True)
class EnginePod:
    """A pod as the API server has it; `started` is whether its engine is up, ready or not."""

    name: str
    address: str
    ready: bool
    started: bool
    created: str


class DrainKeeper:
    """Decides nothing by memory: engines say whether they drain, and stop by themselves in time."""

    def __init__(self, admin: EngineAdmin) -> None:
        self._admin = admin
        self._reports = DrainReports(admin)

    async def look(  # noqa: PLR0913 - the last by name
        self,
        key: Key,
        pods: Sequence[EnginePod],
        current: int,
        wanted: int,
        on_late: Callable[[Key], None],
        *,
        may_drain: bool,
    ) -> Step:
        """Takes the next step from `current` to `wanted` replicas, which `pods` are all of.

        Only engines that may drain, or be asked to, are asked. One that does not answer, or cannot
        be drained as it is older than that, goes as it is. Where it may not drain, as in the midst
        of a rollout, drains are taken back. No look waits for a hung engine: the count stays until
        all have answered or run out of time, when `on_late` is called.
        """
        fewer = may_drain and wanted < max(current, len(pods))
        asked = [pod for pod in pods if pod.started and pod.address and (fewer or not pod.ready)]
        if not asked:
            self._reports.forget(key)
            return Step(wanted)
        addresses = {pod.name: pod.address for pod in asked}
        reports = await self._reports.read(key, addresses, on_late)
        if fewer and len(reports) < len(asked):
            return Step(max(current, wanted), self._reports.draining(key))
        replicas = [Replica(p.name, p.ready, p.created, reports.get(p.name)) for p in pods]
        goal = wanted if may_drain else max(wanted, len(pods))
        step = next_step(replicas, current, goal)
        begun = [each.name for each in replicas if each.name in step.victims and not each.drains]
        if not await self._begin(key, begun, addresses):
            # Whom this engine refuses, the others of its kind refuse as well.
            known = [each if each.drains else replace(each, report=None) for each in replicas]
            step = next_step(known, current, goal)
        await self._take_back(key, step.back, addresses)
        return step if may_drain else Step(wanted)

    def forget(self, key: Key) -> None:
        """Drops what is known of a resource."""
        self._reports.forget(key)

    def close(self) -> None:
        """Asks no more."""
        self._reports.close()

    async def _begin(self, key: Key, names: Sequence[str], addresses: Mapping[str, str]) -> bool:
        """Whether all of them drain now."""
        done = await asyncio.gather(*(self._drain(key, name, addresses[name]) for name in names))
        return all(done)

    async def _drain(self, key: Key, name: str, address: str) -> bool:
        extra = {"resource": "/".join(key), "child": name}
        try:
            report = await self._admin.drain(address, LEASE_SECONDS)
        except AdminError as error:
            metrics.DRAINS.labels(what="refused").inc()
            logger.warning("goes without a drain", extra={**extra, "error": str(error)})
            return False
        metrics.DRAINS.labels(what="begun").inc()
        logger.info("drains, to go", extra={**extra, "because": f"{report.unfinished} in flight"})
        return True

    async def _take_back(
        self, key: Key, names: Sequence[str], addresses: Mapping[str, str]
    ) -> None:
        for name in names:
            extra = {"resource": "/".join(key), "child": name}
            try:
                await self._admin.take_drain_back(addresses[name])
            except AdminError as error:
                logger.warning(
                    "drains until its time is over", extra={**extra, "error": str(error)}
                )
            else:
                metrics.DRAINS.labels(what="taken_back").inc()
                logger.info("stays, and serves again", extra=extra)

"""The loop: a key from the queue, then gather, plan, autoscale, reconcile, apply, status."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from plimsoll_operator import metrics
from plimsoll_operator.actuator import Actuator
from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.autoscaler import Autoscaler
from plimsoll_operator.engines.calibrator import Calibrator
from plimsoll_operator.engines.drain_keeper import AGAIN_SECONDS, DrainKeeper
from plimsoll_operator.engines.limits_keeper import RETRY_SECONDS, LimitsKeeper
from plimsoll_operator.engines.scraper import Scraper
from plimsoll_operator.gather import observe, ready_replicas
from plimsoll_operator.kube.api_server import Cluster, ClusterError
from plimsoll_operator.kube.config_maps import ConfigMaps
from plimsoll_operator.kube.kinds import RESOURCE
from plimsoll_operator.kube.node_usage import RoomReader
from plimsoll_operator.kube.store import Store
from plimsoll_operator.observed import Observed
from plimsoll_operator.plan_service.planner_service import PlannerService
from plimsoll_operator.plan_service.revision_reader import RevisionReader
from plimsoll_operator.plan_service.trace_reader import TraceReader
from plimsoll_operator.plans.choice import Standing
from plimsoll_operator.plans.drift import NO_NEWS, Drift, drift
from plimsoll_operator.queue import KeyedQueue
from plimsoll_operator.reconcile import Desired, Outcome, keys_of, reconcile
from plimsoll_operator.resource import Key, Resource, dump_status, parse_resource
from plimsoll_operator.rollouts.hold import after_rollback, while_paused
from plimsoll_operator.rollouts.live_limits import NO_REPORT, LimitsReport
from plimsoll_operator.rollouts.pod_source import choose_source
from plimsoll_operator.scaling.measurement import Look, Window
from plimsoll_operator.scaling.schedule import in_force
from plimsoll_operator.settings import Settings
from plimsoll_operator.status.new_status import first_status
from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.models.model import Model

logger = logging.getLogger(__name__)
RESTLESS_SECONDS = 10.0
"""A delay that a resource only reaches by being changed at six looks in a row."""
SEEN_SECONDS = 5.0
"""For which a resource that was there is taken to be there still: a watch tells of its end, and
where that is lost, the cluster collects what is made in vain."""
TELL_SECONDS = 60.0
"""Least time between two changes of what the status says of measured traffic."""


@dataclass(frozen=True)
class Seen:
    """What was measured under a plan, and when something of it was last told."""

    window: Window = field(default_factory=Window)
    told_at: float | None = None


@dataclass(frozen=True)
class Engines:
    """What is measured of engines, what keeps them under their limits, and what drains them."""

    scraper: Scraper
    calibrator: Calibrator
    limits: LimitsKeeper
    drains: DrainKeeper


class Controller:
    """Reconciles resources; `work` is one worker, of which there are several."""

    def __init__(
        self, settings: Settings, cluster: Cluster, store: Store, engines: Engines, instance: str
    ) -> None:
        self.queue: KeyedQueue[Key] = KeyedQueue()
        self.store = store
        self._settings = settings
        self._cluster = cluster
        self._scraper, self._calibrator = engines.scraper, engines.calibrator
        self._limits, self._drains = engines.limits, engines.drains
        self._actuator = Actuator(cluster, store, instance)
        self._revisions = RevisionReader(store, cluster)
        self._rooms = RoomReader(store, cluster)
        maps = ConfigMaps(cluster)
        traces = TraceReader(maps.version, maps.data)
        self._planner = PlannerService(
            store, maps.text, traces, settings.trial_requests, self._revisions.of_inputs
        )
        self._autoscaler = Autoscaler(store, engines.scraper, engines.drains, self.queue.add)
        self._windows: dict[str, Seen] = {}

    async def work(self) -> None:
        """Takes keys from the queue until cancelled; no failure of one key ends it."""
        while True:
            key = await self.queue.get()
            metrics.QUEUE_DEPTH.set(len(self.queue))
            try:
                await self._attempt(key)
            finally:
                self.queue.done(key)

    async def _attempt(self, key: Key) -> None:
        resource = "/".join(key)
        try:
            with metrics.RECONCILE_SECONDS.time():
                acted = await self.reconcile(key)
        except ClusterError as error:
            delay = self.queue.retry(key)
            metrics.RECONCILES.labels(result="refused").inc()
            level = logging.INFO if error.transient else logging.WARNING
            logger.log(
                level,
                "will try again",
                extra={"resource": resource, "error": str(error), "delay": delay},
            )
        except Exception:
            delay = self.queue.retry(key)
            metrics.RECONCILES.labels(result="failed").inc()
            logger.exception("failed", extra={"resource": resource, "delay": delay})
        else:
            metrics.RECONCILES.labels(result="acted" if acted else "idle").inc()
            if not acted:
                self.queue.succeed(key)
                return
            # What was done is looked at again, later each time where it never comes to rest.
            delay = self.queue.retry(key)
            if delay >= RESTLESS_SECONDS:
                logger.warning("does not come to rest", extra={"resource": resource})

    async def reconcile(self, key: Key) -> bool:
        """One look at one resource. Returns whether a child was changed. Raises ClusterError."""
        raw = self.store.get(RESOURCE.name, *key)
        if raw is None:
            self._scraper.forget(key)
            self._limits.forget(key)
            self._drains.forget(key)
            return False
        resource = self.store.resource(key) or parse_resource(raw)
        if resource.deleting:
            return False
        seen_at = None  # when the API server last said, in this look, that the resource exists
        if not resource.status.conditions:
            status = first_status(resource, _now())
            if await self._actuator.write_status(raw, dump_status(status)):
                seen_at = monotonic()
            raw = self.store.get(RESOURCE.name, *key) or raw
            resource = self.store.resource(key) or parse_resource(raw)
        resource, standing = await self._standing(resource)
        observed = await observe(
            self.store, self._cluster, resource, keys_of(resource.name, standing)
        )
        pods = choose_source(resource, standing, self._settings.rendering, observed)
        started = standing.plan if pods is None else pods.plan
        revision = None if started is None else started.revision
        shortage = await self._rooms.shortage(resource, observed, revision)
        observed = replace(observed, shortage=shortage)
        # Plans are made for what is declared; the minimum of the hour is for the count alone.
        resource, schedule = in_force(resource, datetime.now(UTC))
        decision = self._autoscaler.decide(resource, standing, observed, schedule)
        found = self._drift(resource, standing, started, observed)
        plan = resource.status.plan
        fit = None if plan is None else self._calibrator.found(resource.uid, plan)
        limits = await self._keep_limits(resource, standing, started, observed)
        desired = Desired(resource, standing, pods, decision, found, fit, limits)
        desired = replace(desired, step=await self._autoscaler.step(desired, observed))
        outcome = reconcile(desired, observed, _now())
        fresh = seen_at is not None and monotonic() - seen_at < SEEN_SECONDS
        if outcome.creates and not fresh and not await self._still_there(resource, raw):
            return False
        done = await self._actuator.carry_out(resource, outcome.actions)
        if done.refusals:
            outcome = reconcile(desired, observed, _now(), done.refusals)
        # Children before status: a crash in between is made good by doing all again.
        await self._tell(raw, outcome, done.failure)
        again = RETRY_SECONDS if limits.lacking else None
        drains = AGAIN_SECONDS if desired.step is not None and desired.step.victims else None
        for delay in (outcome.requeue_after, done.retry_after, again, drains):
            if delay is not None:
                self.queue.add_after(key, delay)
        return done.changed

    async def _standing(self, resource: Resource) -> tuple[Resource, Standing]:
        """The plan that should run, and the resource as it is, or was, when that was made."""
        hold = after_rollback(resource)
        if hold is None:
            planned = await self._planner.standing(resource)
            hold = while_paused(resource, planned)
            if hold is None:
                self._revisions.forget(resource.uid)
                return resource, planned
        return await self._revisions.held(resource, hold)

    async def _still_there(self, resource: Resource, raw: Mapping[str, Any]) -> bool:
        """Whether the resource exists, asked live, since a watch that lists anew tells no deletion.

        Children of an owner that is gone would be collected and made again without end.
        """
        live = await self._cluster.get(RESOURCE, resource.namespace, resource.name)
        if live is not None and live["metadata"]["uid"] == resource.uid:
            return True
        self.store.remove(RESOURCE.name, raw)
        self.forget(resource.key, resource.uid)
        if live is not None:
            self.store.put(RESOURCE.name, live)
            self.queue.add(resource.key)
        return False

    async def _tell(
        self, raw: Mapping[str, Any], outcome: Outcome, failure: ClusterError | None
    ) -> None:
        """Writes what is to be said. Raises `failure`, or the first of its own, at the end."""
        if outcome.scale is not None:
            try:
                await self._actuator.scale(raw, outcome.scale)
            except ClusterError as error:
                failure = failure or error
        if outcome.status is not None:
            await self._actuator.write_status(raw, outcome.status)
        for event in outcome.events:
            await self._actuator.tell(raw, event)
        if failure is not None:
            raise failure

    async def _keep_limits(
        self,
        resource: Resource,
        standing: Standing,
        started: PlanStatus | None,
        observed: Observed,
    ) -> LimitsReport:
        """Sends the limits of the plan in force to pods that run under others."""
        if standing.plan is None or started is None or standing.trouble is not None:
            return NO_REPORT
        ours = observed.pods_of(started.revision)
        pods = tuple(pod for pod in ready_replicas(self.store, resource.key) if pod[0] in ours)
        plan = standing.plan
        return await self._limits.look(resource.key, plan, started, pods, self.queue.add)

    def _drift(
        self,
        resource: Resource,
        standing: Standing,
        started: PlanStatus | None,
        observed: Observed,
    ) -> Drift:
        """How the plan in force fits what is measured under it."""
        plan = standing.plan
        name = standing.revision(resource.name)
        if plan is None or standing.trouble is not None or name != resource.status.current_revision:
            self._windows.pop(resource.uid, None)  # what serves is not yet by this plan
            return NO_NEWS
        now = asyncio.get_running_loop().time()
        seen = self._windows.get(resource.uid, Seen())
        serving = observed.pods_of((started or plan).revision)
        looks = [
            (sample.replica, Look(sample.at, sample.counters))
            for sample in self._scraper.samples(resource.key)
            if sample.counters is not None and sample.replica in serving
        ]
        window = seen.window.with_looks(looks, now)
        settled = seen.told_at is None or now - seen.told_at >= TELL_SECONDS
        found = drift(resource, plan, window.figures(), settled=settled)
        told = found.finding is not None or found.observed is not None
        self._windows[resource.uid] = Seen(window, now if told else seen.told_at)
        return found

    async def facts(self, key: Key) -> tuple[Model, tuple[Accelerator, ...]] | None:
        """The model that a resource serves, and what goes before the catalogue."""
        resource = self.store.resource(key)
        return None if resource is None else await self._planner.facts(resource)

    def forget(self, key: Key, uid: str) -> None:
        """Drops what was remembered of a resource that is gone."""
        self._autoscaler.forget(uid)
        self._windows.pop(uid, None)
        self._actuator.forget(uid)
        self._planner.forget(uid)
        self._revisions.forget(uid)
        self._calibrator.forget(uid)
        self._scraper.forget(key)
        self._limits.forget(key)
        self._drains.forget(key)

    def close(self) -> None:
        """Ends what is being planned and asked."""
        self._planner.close()
        self._limits.close()
        self._drains.close()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

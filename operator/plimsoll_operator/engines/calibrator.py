"""Fits the performance model to what engines measure of their own steps, resource by resource."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.api.status import MeasuredCalibration, PlanStatus
from plimsoll_operator.calibration.measured import Subject, can_be_measured, fitted
from plimsoll_operator.calibration.steps import Told
from plimsoll_operator.engines.engine_client import EngineClient
from plimsoll_operator.resource import Key
from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.calibration.fit import CalibrationError
from plimsoll_planner.calibration.frontend_work import stretches
from plimsoll_planner.models.model import Model

logger = logging.getLogger(__name__)

FIRST_SECONDS = 60.0
"""How often engines are asked that answer, until a first fit can be trusted."""
INTERVAL_SECONDS = 600.0
"""How often all others are."""
MOST_REPLICAS = 4
"""Engines of one resource that are asked: they run the same on the same."""
MOST_FITS = 1
"""Fits at a time; each holds the interpreter for some ten milliseconds."""

Facts = Callable[[Key], Awaitable[tuple[Model, tuple[Accelerator, ...]] | None]]
"""The model that a resource serves, and what goes before the catalogue; None where not known."""


@dataclass(frozen=True)
class Target:
    """A resource whose engines run by `plan`; `replicas` are names and addresses of their pods,
    `before` is what was found earlier under such a plan."""

    key: Key
    uid: str
    spec: LLMDeploymentSpec
    plan: PlanStatus
    replicas: tuple[tuple[str, str], ...]
    before: MeasuredCalibration | None = None


class Calibrator:
    """Keeps the newest calibration by uid; `on_found` is called with each key that has one."""

    def __init__(
        self, client: EngineClient, on_found: Callable[[Key], None], now: Callable[[], str]
    ) -> None:
        self._client, self._on_found, self._now = client, on_found, now
        self._found: dict[str, tuple[str, MeasuredCalibration]] = {}
        self._counted: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._fits = asyncio.Semaphore(MOST_FITS)

    def found(self, uid: str, plan: PlanStatus) -> MeasuredCalibration | None:
        """The newest calibration of a resource under that plan."""
        revision, found = self._found.get(uid, ("", None))
        return found if revision == plan.revision else None

    def forget(self, uid: str) -> None:
        """Drops what is known of a resource that is gone."""
        for known in (self._found, self._counted, self._due):
            known.pop(uid, None)

    def due(self, uid: str) -> bool:
        """Whether the engines of a resource may be asked now, as far as is known without a look."""
        now = asyncio.get_running_loop().time()
        return uid not in self._running and self._due.get(uid, now) <= now

    def tick(self, targets: Iterable[Target], facts: Facts) -> None:
        """Begins to measure the resources that are due; never waits."""
        now = asyncio.get_running_loop().time()
        for target in targets:
            uid = target.uid
            if uid in self._running or not target.replicas or not can_be_measured(target.spec):
                continue
            # Engines that have just begun have nothing to tell yet.
            if self._due.setdefault(uid, now + FIRST_SECONDS) <= now:
                self._due[uid] = now + INTERVAL_SECONDS
                task = asyncio.create_task(self._measure(target, facts))
                self._running[uid] = task
                task.add_done_callback(partial(self._finished, uid))

    def _finished(self, uid: str, task: asyncio.Task[None]) -> None:
        self._running.pop(uid, None)
        if not task.cancelled() and task.exception() is not None:
            logger.error("calibration failed", exc_info=task.exception())

    async def _measure(self, target: Target, facts: Facts) -> None:
        asked = target.replicas[:MOST_REPLICAS]
        answers = await asyncio.gather(*(self._client.steps(address) for _, address in asked))
        told = [answer for answer in answers if answer is not None]
        found = await self._fit(target, told, facts)
        if target.uid not in self._due:
            return  # gone meanwhile
        if found is not None:
            self._found[target.uid] = (target.plan.revision, found)
            self._on_found(target.key)
        if told and target.before is None and found is None:
            self._due[target.uid] = asyncio.get_running_loop().time() + FIRST_SECONDS

    async def _fit(
        self, target: Target, told: Sequence[Told], facts: Facts
    ) -> MeasuredCalibration | None:
        """What the steps give, if they are new, can be trusted, and it is news."""
        counted = sum(each.num_steps for each in told)
        if counted == self._counted.get(target.uid, 0):
            return None
        known = await facts(target.key)
        if known is None:
            return None
        self._counted[target.uid] = counted
        subject = Subject(target.spec, target.plan, *known, target.before)
        samples = [sample for each in told for sample in each.samples]
        work = [stretch for each in told for stretch in stretches(each.looks)]
        try:
            async with self._fits:
                return await asyncio.to_thread(fitted, subject, samples, self._now(), work)
        except CalibrationError as error:
            extra = {"resource": "/".join(target.key), "error": str(error)}
            logger.debug("not calibrated", extra=extra)
            return None

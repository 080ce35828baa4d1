"""Keeps engines under their planned limits: asks each ready pod, and sends what differs."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic

from plimsoll_operator import metrics
from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.engines.engine_admin import AdminError, EngineAdmin
from plimsoll_operator.resource import Key
from plimsoll_operator.rollouts.live_limits import (
    NO_REPORT,
    EngineReport,
    LimitsReport,
    PlannedLimits,
    limits_for,
    planned_limits,
)

logger = logging.getLogger(__name__)

RECHECK_SECONDS = 45.0
"""Below the period at which every resource is looked at, so that each look asks anew."""
RETRY_SECONDS = 5.0
PROMPT_SECONDS = 0.1
"""How long a look waits for engines that should run under their limits already."""


@dataclass(frozen=True)
class _Answer:
    """A pod's last answer, when it was asked to run under `planned`; `error` where it did not."""

    planned: PlannedLimits
    at: float
    engine: EngineReport | None = None
    error: str = ""

    @property
    def differs(self) -> bool:
        """Whether it ran under other limits when it was heard of last."""
        engine = self.engine
        return engine is not None and engine.live != limits_for(self.planned, engine)

    def due(self, planned: PlannedLimits, now: float) -> bool:
        pause = RETRY_SECONDS if self.error else RECHECK_SECONDS
        return self.planned != planned or now - self.at >= pause


class LimitsKeeper:
    """Remembers answers for a while, so that frequent looks do not ask engines as often.

    A pod that is not ready is forgotten, and asked at once when it is: its engine has restarted.
    """

    def __init__(self, admin: EngineAdmin, clock: Callable[[], float] = monotonic) -> None:
        self._admin = admin
        self._clock = clock
        self._answers: dict[Key, dict[str, _Answer]] = {}
        self._reports: dict[Key, tuple[PlannedLimits, LimitsReport]] = {}
        self._asking: dict[Key, asyncio.Task[LimitsReport]] = {}

    async def look(
        self,
        key: Key,
        plan: PlanStatus,
        started: PlanStatus,
        pods: tuple[tuple[str, str], ...],
        on_late: Callable[[Key], None],
    ) -> LimitsReport:
        """As `keep`, without waiting for engines that have no new limits to get.

        A pod that does not answer must not hold up whoever looks, of whom there are few. Until the
        answer comes the last report on the same limits stands; `on_late` is called when it is
        there.
        """
        planned = planned_limits(plan, started)
        if plan.revision != started.revision:
            self._reports[key] = planned, await self.keep(key, plan, started, pods)
        elif key not in self._asking:
            task = asyncio.create_task(self.keep(key, plan, started, pods))
            await asyncio.wait((task,), timeout=PROMPT_SECONDS)
            if task.done():
                self._reports[key] = planned, task.result()
            else:
                self._asking[key] = task
                task.add_done_callback(partial(self._late, key, planned, on_late))
        asked, report = self._reports.get(key, (planned, NO_REPORT))
        return report if asked == planned else NO_REPORT

    def close(self) -> None:
        """Asks no more."""
        for task in self._asking.values():
            task.cancel()

    def _late(
        self,
        key: Key,
        planned: PlannedLimits,
        on_late: Callable[[Key], None],
        task: asyncio.Task[LimitsReport],
    ) -> None:
        known = self._asking.pop(key, None)
        if task.cancelled() or known is None:
            return
        if task.exception() is not None:
            logger.error("limits not read", exc_info=task.exception())
            return
        self._reports[key] = planned, task.result()
        on_late(key)

    async def keep(
        self,
        key: Key,
        plan: PlanStatus,
        started: PlanStatus,
        pods: tuple[tuple[str, str], ...],
    ) -> LimitsReport:
        """Brings ready pods, by name and address, that were started by `started` under `plan`."""
        planned = planned_limits(plan, started)
        known = self._answers.get(key, {})
        names = [name for name, _ in pods]
        fresh = await asyncio.gather(
            *(self._answer(key, planned, known.get(name), name, address) for name, address in pods)
        )
        answers = dict(zip(names, fresh, strict=True))
        self._answers[key] = answers
        agreed = [answer.engine for answer in fresh if answer.engine and not answer.error]
        # Who was started under the planned limits, and never said otherwise, runs under them.
        live = plan.revision != started.revision
        return LimitsReport(
            status=agreed[0].status(started, len(agreed)) if agreed else None,
            lacking=tuple(
                answer.error for answer in fresh if answer.error and (live or answer.differs)
            ),
        )

    def forget(self, key: Key) -> None:
        """Drops what is known of a resource."""
        self._answers.pop(key, None)
        self._reports.pop(key, None)
        task = self._asking.pop(key, None)
        if task is not None:
            task.cancel()

    async def _answer(
        self, key: Key, planned: PlannedLimits, known: _Answer | None, name: str, address: str
    ) -> _Answer:
        now = self._clock()
        if known is not None and not known.due(planned, now):
            return known
        extra = {"resource": "/".join(key), "child": name}
        engine = None if known is None else known.engine
        try:
            engine = await self._admin.limits(address)
            wanted = limits_for(planned, engine)
            if engine.live != wanted:
                before = engine.live
                engine = await self._admin.set_limits(address, wanted)
                metrics.LIMIT_CHANGES.inc()
                logger.info(
                    "limits changed", extra={**extra, "because": f"{before} before, now {wanted}"}
                )
        except AdminError as error:
            if known is None or known.error != str(error):
                logger.warning("limits not in force", extra={**extra, "error": str(error)})
            return _Answer(planned, now, engine, str(error))
        return _Answer(planned, now, engine)

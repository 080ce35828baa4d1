"""What engines say of their drains, asked for beside the looks of those who need to know."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic

from plimsoll_operator.engines.engine_admin import AdminError, EngineAdmin
from plimsoll_operator.resource import Key
from plimsoll_operator.scaling.victims import DrainReport

logger = logging.getLogger(__name__)

PROMPT_SECONDS = 0.1
"""How long a look waits for engines: a hung one must not hold up whoever looks."""
FRESH_SECONDS = 2.0
"""For how long an answer that came after its look is taken, without asking again."""

Report = DrainReport | None


@dataclass(frozen=True)
class _Heard:
    report: Report
    at: float
    late: bool = False


class DrainReports:
    """Remembers answers for those looks alone that an engine keeps waiting."""

    def __init__(self, admin: EngineAdmin, clock: Callable[[], float] = monotonic) -> None:
        self._admin = admin
        self._clock = clock
        self._heard: dict[Key, dict[str, _Heard]] = {}
        self._asking: dict[Key, dict[str, asyncio.Task[Report]]] = {}

    async def read(
        self, key: Key, addresses: Mapping[str, str], on_late: Callable[[Key], None]
    ) -> dict[str, Report]:
        """What engines, by name of their pods, say; None for one that does not answer.

        One that has not answered yet, and did when it was asked last, is left out: `on_late` is
        called when its answer, or the lack of one, is there.
        """
        before = self._heard.get(key, {})
        heard = self._heard[key] = {name: before[name] for name in addresses if name in before}
        asking, now = self._asking.setdefault(key, {}), self._clock()
        tasks = {
            name: asking.get(name) or asyncio.create_task(self._ask(name, address))
            for name, address in addresses.items()
            if not ((known := heard.get(name)) and known.late and now - known.at < FRESH_SECONDS)
        }
        if tasks:
            await asyncio.wait(tasks.values(), timeout=PROMPT_SECONDS)
        awaited: set[str] = set()
        for name, task in tasks.items():
            if task.done():
                heard[name] = _Heard(task.result(), self._clock())
                continue
            if name not in asking:
                asking[name] = task
                task.add_done_callback(partial(self._late, key, name, on_late))
            known = heard.get(name)
            if known is None or known.report is not None:
                awaited.add(name)
        return {name: heard[name].report for name in addresses if name not in awaited}

    def draining(self, key: Key) -> tuple[str, ...]:
        """Pods whose engines said last that they drain."""
        heard = self._heard.get(key, {}).items()
        return tuple(n for n, each in heard if each.report and each.report.seconds is not None)

    def forget(self, key: Key) -> None:
        """Drops what is known of a resource."""
        self._heard.pop(key, None)
        for task in self._asking.pop(key, {}).values():
            task.cancel()

    def close(self) -> None:
        """Asks no more."""
        for key in list(self._asking):
            self.forget(key)

    def _late(
        self, key: Key, name: str, on_late: Callable[[Key], None], task: asyncio.Task[Report]
    ) -> None:
        asking = self._asking.get(key, {})
        if task.cancelled() or asking.get(name) is not task:
            return
        del asking[name]
        self._heard.setdefault(key, {})[name] = _Heard(task.result(), self._clock(), late=True)
        on_late(key)

    async def _ask(self, name: str, address: str) -> Report:
        try:
            return await self._admin.drain_report(address)
        except AdminError as error:
            logger.debug("drain not known", extra={"child": name, "error": str(error)})
            return None

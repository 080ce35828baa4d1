"""No look waits for an engine that hangs; what it says, or does not say, counts all the same."""

import asyncio
from time import monotonic
from typing import cast

import pytest

from plimsoll_operator.engines.drain_keeper import DrainKeeper, EnginePod
from plimsoll_operator.engines.drain_reports import FRESH_SECONDS, DrainReports
from plimsoll_operator.engines.engine_admin import AdminError, EngineAdmin
from plimsoll_operator.resource import Key
from plimsoll_operator.scaling.victims import DrainReport, Step

KEY: Key = ("ml", "chat")
HUNG = EnginePod("hung", "10.0.0.1", ready=False, started=True, created="2026-01-31T12:00:00Z")
GOOD = EnginePod("good", "10.0.0.2", ready=True, started=True, created="2026-01-31T12:00:00Z")
IDLE = DrainReport(None, 0, 0.0)
DRAINS = DrainReport(1.0, 0, 0.0)


class Admin:
    """Admin ports of which that at HUNG's address keeps everybody waiting until `answer` is set."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.drained: list[str] = []
        self.answer = asyncio.Event()
        self.report: DrainReport | None = None

    async def drain_report(self, address: str) -> DrainReport:
        self.asked.append(address)
        if address == HUNG.address:
            await self.answer.wait()
            if self.report is None:
                raise AdminError("no answer within 2 s")
            return self.report
        return IDLE

    async def drain(self, address: str, seconds: float) -> DrainReport:
        self.drained.append(address)
        return DRAINS

    async def take_drain_back(self, address: str) -> DrainReport:
        self.drained.remove(address)
        return IDLE


class Looks:
    """A keeper, and what comes of looks at two replicas, one of them hung."""

    def __init__(self) -> None:
        self.admin = Admin()
        self.late: list[Key] = []
        self.keeper = DrainKeeper(cast("EngineAdmin", self.admin))

    async def look(self, wanted: int, *, may_drain: bool = True) -> Step:
        began = monotonic()
        step = await self.keeper.look(
            KEY, (HUNG, GOOD), 2, wanted, self.late.append, may_drain=may_drain
        )
        assert monotonic() - began < 1
        return step

    async def answered(self, report: DrainReport | None) -> None:
        """HUNG has answered, or run out of time."""
        self.admin.report = report
        self.admin.answer.set()
        async with asyncio.timeout(5):
            while not self.late:
                await asyncio.sleep(0.01)


@pytest.fixture
def looks() -> Looks:
    return Looks()


async def test_the_count_stays_until_all_have_answered(looks: Looks) -> None:
    for _ in range(3):
        assert await looks.look(1) == Step(2)
    assert looks.admin.asked.count(HUNG.address) == 1
    assert (looks.late, looks.admin.drained) == ([], [])
    await looks.answered(None)
    # It does not serve, and goes; the other need not.
    assert await looks.look(1) == Step(1)
    assert looks.admin.asked.count(HUNG.address) == 1
    assert (looks.late, looks.admin.drained) == ([KEY], [])


async def test_one_that_was_silent_before_holds_up_nothing(looks: Looks) -> None:
    await looks.look(1)
    await looks.answered(None)
    looks.admin.answer.clear()
    reports = looks.keeper._reports
    reports._clock = lambda: monotonic() + FRESH_SECONDS
    assert await looks.look(1) == Step(1)
    assert looks.admin.asked.count(HUNG.address) == 2


async def test_a_late_answer_is_as_good_as_any(looks: Looks) -> None:
    assert await looks.look(1) == Step(2)
    await looks.answered(DRAINS)
    assert await looks.look(1) == Step(1, ("hung",))
    # Told as before while it is asked anew.
    looks.admin.answer.clear()
    looks.keeper._reports._clock = lambda: monotonic() + FRESH_SECONDS
    assert await looks.look(1) == Step(2, ("hung",))


async def test_wanted_again_and_in_a_rollout_nothing_is_held_up(looks: Looks) -> None:
    assert await looks.look(3) == Step(3)
    assert await looks.look(1, may_drain=False) == Step(1)
    looks.admin.drained.append(HUNG.address)
    await looks.answered(DRAINS)
    assert await looks.look(3) == Step(3, (), ("hung",))
    assert looks.admin.drained == []


async def test_what_is_gone_is_asked_no_more() -> None:
    admin, late = Admin(), list[Key]()
    reports = DrainReports(cast("EngineAdmin", admin))
    assert await reports.read(KEY, {"hung": HUNG.address}, late.append) == {}
    (task,) = reports._asking[KEY].values()
    reports.close()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (reports._asking, late) == ({}, [])

"""What the server's process tells of its own work."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.server import frontend_work
from plimsoll_runtime.server.frontend_work import MAX_LOOKS, FrontendWork, Look


class Clock:
    """Goes on by a second at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def counted() -> FrontendWork:
    return FrontendWork(Clock(), Clock())


def test_looks_are_counters_since_the_start() -> None:
    work = counted()
    work.look(0)
    work.taken_in(7)
    work.taken_in(5)
    work.delivered(1)
    work.delivered(2)
    work.delivered(0)
    work.look(4)
    assert work.looks == (Look(1, 1, 0, 0, 0, 0, 0), Look(2, 2, 2, 12, 4, 3, 3))


def test_of_idle_time_the_ends_stay() -> None:
    work = counted()
    for number in range(100):
        if number in {10, 50, 51}:
            work.taken_in(1)
        work.look(number // 60)
    assert [look.at for look in work.looks] == [1, 10, 11, 50, 51, 52, 60, 61, 100]


@given(st.lists(st.booleans(), max_size=3 * MAX_LOOKS))
def test_what_is_kept_is_bounded_and_in_order(busy: list[bool]) -> None:
    work = counted()
    for each in busy:
        if each:
            work.delivered(1)
        work.look(0)
    assert len(work.looks) <= MAX_LOOKS
    for before, after in pairwise(work.looks):
        assert all(then <= now for then, now in zip(before, after, strict=True))
    if busy:
        assert (work.looks[-1].at, work.looks[-1].num_events) == (len(busy), sum(busy))


async def test_it_looks_until_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend_work, "LOOK_SECONDS", 0.001)
    work = FrontendWork()
    keeping = asyncio.ensure_future(work.keep(lambda: 3))
    while len(work.looks) < 2:
        work.delivered(1)
        await asyncio.sleep(0.001)
    keeping.cancel()
    first, second, *_ = work.looks
    assert first.num_steps == 3
    assert second.at > first.at
    assert second.cpu_seconds >= first.cpu_seconds > 0

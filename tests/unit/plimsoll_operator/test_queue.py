"""The queue: one worker a key, nothing lost, nothing doubled, failures later each time."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.queue import KeyedQueue


async def test_a_key_waits_once() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    for _ in range(5):
        queue.add("a")
    assert len(queue) == 1
    assert await queue.get() == "a"
    assert len(queue) == 0


async def test_a_key_in_work_comes_again_afterwards_and_once() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert len(queue) == 1
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_get_waits_for_add() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    getting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not getting.done()
    queue.add("a")
    assert await asyncio.wait_for(getting, 1) == "a"


async def test_delays_come_in_their_order_and_the_earlier_wins() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add_after("late", 0.06)
    queue.add_after("soon", 0.02)
    queue.add_after("late", 30)
    queue.add_after("moved", 30)
    queue.add_after("moved", 0.04)
    got = [await asyncio.wait_for(queue.get(), 1) for _ in range(3)]
    assert got == ["soon", "moved", "late"]


async def test_add_takes_the_place_of_a_delay() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add_after("a", 0.01)
    queue.add("a")
    assert await queue.get() == "a"
    queue.done("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.05)


async def test_what_goes_first_overtakes_the_rest_but_in_every_fourth_turn() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    for key in ("a", "b", "c"):
        queue.add(key)
    for key in ("1", "2", "3", "4", "5"):
        queue.add(key, first=True)
    assert [await queue.get() for _ in range(8)] == ["1", "2", "3", "a", "4", "5", "b", "c"]


async def test_a_key_that_waits_moves_up_and_still_comes_once() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    for key in ("a", "b"):
        queue.add(key)
    queue.add("b", first=True)
    queue.add("b")
    assert len(queue) == 2
    assert [await queue.get() for _ in range(2)] == ["b", "a"]
    assert len(queue) == 0


async def test_a_key_in_work_comes_again_as_soon_as_was_asked_meanwhile() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("a")
    await queue.get()
    queue.add("b")
    queue.add("a", first=True)
    queue.add("a")
    queue.done("a")
    assert [await queue.get() for _ in range(2)] == ["a", "b"]


async def test_backoff_grows_to_its_limit_and_success_ends_it() -> None:
    queue: KeyedQueue[str] = KeyedQueue(base=0.1, limit=5)
    delays = [queue.retry("a") for _ in range(8)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    assert queue.retry("b") == 0.1
    queue.succeed("a")
    assert queue.retry("a") == 0.1


@settings(deadline=None)
@given(
    adds=st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), max_size=60),
    workers=st.integers(1, 4),
)
async def test_every_add_is_followed_by_work_and_no_key_is_worked_on_twice_at_once(
    adds: list[tuple[int, bool, int]], workers: int
) -> None:
    queue: KeyedQueue[int] = KeyedQueue()
    version = dict.fromkeys(range(6), 0)
    seen = dict.fromkeys(range(6), 0)
    busy: set[int] = set()

    async def work() -> None:
        while True:
            key = await queue.get()
            assert key not in busy
            busy.add(key)
            seen[key] = version[key]
            await asyncio.sleep(0)
            busy.discard(key)
            queue.done(key)

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    for key, first, pauses in adds:
        version[key] += 1
        queue.add(key, first=first)
        for _ in range(pauses):
            await asyncio.sleep(0)
    for _ in range(200):
        await asyncio.sleep(0)
    assert seen == version
    assert all(not task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

"""A queue of keys for level-triggered work.

A key waits at most once however often it is added; while it is being worked on, adding it makes it
come again afterwards; no two workers hold the same key. Failures come back with exponential
backoff. What somebody waits for goes first, in three of four turns. Time is the event loop's.
"""

import asyncio
import heapq
from collections import deque
from typing import Generic, TypeVar

K = TypeVar("K")

FIRST_TURNS = 4
"""Of so many turns all but one are for what goes first, as long as anything does: thousands of new
resources must not hold up those that serve."""


class KeyedQueue(Generic[K]):
    """Queue of hashable keys for one event loop."""

    def __init__(self, base: float = 0.2, limit: float = 60.0) -> None:
        self._base = base
        self._limit = limit
        self._ready: dict[bool, deque[K]] = {True: deque(), False: deque()}
        """Of what goes first, and of the rest; `_waiting` tells of a key in both where it is."""
        self._waiting: dict[K, bool] = {}
        self._working: set[K] = set()
        self._dirty: dict[K, bool] = {}
        self._turn = 0
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}
        self._timers: list[tuple[float, int, K]] = []
        self._sequence = 0
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """Keys that could be worked on now."""
        return len(self._waiting)

    def add(self, key: K, *, first: bool = False) -> None:
        """Makes `key` come as soon as a worker is free, or before others do (`first`)."""
        self._due.pop(key, None)
        if key in self._working:
            self._dirty[key] = first or self._dirty.get(key, False)
        elif key not in self._waiting or (first and not self._waiting[key]):
            self._waiting[key] = first
            self._ready[first].append(key)
            self._wake.set()

    def add_after(self, key: K, delay: float) -> None:
        """Makes `key` come in `delay` seconds, or earlier if that was asked for already."""
        if delay <= 0:
            self.add(key)
            return
        if key in self._waiting:
            return
        due = asyncio.get_running_loop().time() + delay
        if self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        self._sequence += 1
        heapq.heappush(self._timers, (due, self._sequence, key))
        self._wake.set()

    def retry(self, key: K) -> float:
        """Makes a failed key come again, later each time. Returns the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(self._limit, self._base * 2.0 ** min(failures, 30))
        self.add_after(key, delay)
        return delay

    def succeed(self, key: K) -> None:
        """Forgets that the key ever failed."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key; the caller must call `done` with it."""
        while True:
            self._release_due()
            if self._waiting:
                key = self._take()
                self._working.add(key)
                return key
            self._wake.clear()
            timeout = None
            if self._timers:
                timeout = max(0.0, self._timers[0][0] - asyncio.get_running_loop().time())
            try:
                await asyncio.wait_for(self._wake.wait(), timeout)
            except TimeoutError:
                continue

    def done(self, key: K) -> None:
        """Ends the work on a key that `get` gave."""
        self._working.discard(key)
        first = self._dirty.pop(key, None)
        if first is not None:
            self.add(key, first=first)

    def _take(self) -> K:
        """The next of those that wait, of which there must be one."""
        self._turn = (self._turn + 1) % FIRST_TURNS
        first = self._turn != 0
        while True:
            lane = first if self._ready[first] else not first
            key = self._ready[lane].popleft()
            if self._waiting.get(key) is lane:
                del self._waiting[key]
                return key

    def _release_due(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._timers and self._timers[0][0] <= now:
            due, _, key = heapq.heappop(self._timers)
            if self._due.get(key) == due:
                self.add(key)

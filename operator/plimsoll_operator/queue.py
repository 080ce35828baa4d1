"""A queue of keys for level-triggered work.

A key waits at most once however often it is added; while it is being worked on, adding it makes it
come again afterwards; no two workers hold the same key. Failures come back with exponential
backoff. Time is the event loop's.
"""

import asyncio
import heapq
from collections import deque
from typing import Generic, TypeVar

K = TypeVar("K")


class KeyedQueue(Generic[K]):
    """Queue of hashable keys for one event loop."""

    def __init__(self, base: float = 0.2, limit: float = 60.0) -> None:
        self._base = base
        self._limit = limit
        self._ready: deque[K] = deque()
        self._waiting: set[K] = set()
        self._working: set[K] = set()
        self._dirty: set[K] = set()
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}
        self._timers: list[tuple[float, int, K]] = []
        self._sequence = 0
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """Keys that could be worked on now."""
        return len(self._ready)

    def add(self, key: K) -> None:
        """Makes `key` come as soon as a worker is free."""
        self._due.pop(key, None)
        if key in self._working:
            self._dirty.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.append(key)
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
            if self._ready:
                key = self._ready.popleft()
                self._waiting.discard(key)
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
        if key in self._dirty:
            self._dirty.discard(key)
            self.add(key)

    def _release_due(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._timers and self._timers[0][0] <= now:
            due, _, key = heapq.heappop(self._timers)
            if self._due.get(key) == due:
                self.add(key)

"""Answers that took long to find, by question."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

REMEMBERED = 512

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """The last answers by question; one that is being worked out is awaited by all who ask."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self._answers: OrderedDict[K, asyncio.Future[V]] = OrderedDict()

    async def get(self, key: K, work: Callable[[], Awaitable[V]]) -> V:
        """The answer to `key`, from `work` the first time. Failures are not remembered."""
        future = self._answers.get(key)
        if future is None:
            future = asyncio.ensure_future(work())
            self._answers[key] = future
            while len(self._answers) > self._size:
                self._answers.popitem(last=False)
        self._answers.move_to_end(key)
        try:
            return await asyncio.shield(future)
        except BaseException:
            if future.done() and self._answers.get(key) is future:
                del self._answers[key]
            raise

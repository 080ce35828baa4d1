"""Measures engines: often where replicas scale by it, else to compare with the plan."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial

from plimsoll_operator.engines.engine_client import EngineClient
from plimsoll_operator.resource import Key
from plimsoll_operator.scaling.autoscale import Sample

logger = logging.getLogger(__name__)

BACKOFF_LIMIT = 25.0
"""Below the age at which samples count as stale, so that one good answer ends a hold at once."""

COMPARE_SECONDS = 30.0
"""How often engines are measured by which nothing scales."""

Replicas = tuple[tuple[str, str], ...]


class Scraper:
    """Keeps the newest samples by resource; `on_samples` is called with each key measured."""

    def __init__(
        self, client: EngineClient, interval: float, on_samples: Callable[[Key], None]
    ) -> None:
        self._client = client
        self._interval = interval
        self._on_samples = on_samples
        self._samples: dict[Key, tuple[Sample, ...]] = {}
        self._due: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._running: dict[Key, asyncio.Task[None]] = {}

    def samples(self, key: Key) -> tuple[Sample, ...]:
        """The newest samples of a resource's replicas."""
        return self._samples.get(key, ())

    def forget(self, key: Key) -> None:
        """Drops what is known of a resource."""
        for known in (self._samples, self._due, self._failures):
            known.pop(key, None)

    def due(self, key: Key) -> bool:
        """Whether the replicas of a resource are to be measured now."""
        now = asyncio.get_running_loop().time()
        return key not in self._running and self._due.get(key, now) <= now

    def tick(self, targets: Iterable[tuple[Key, Replicas, bool]]) -> None:
        """Begins to measure the resources that are due; never waits.

        A target says whether its replicas scale by what is measured.
        """
        for key, replicas, scales in targets:
            if replicas and self.due(key):
                interval = self._interval if scales else COMPARE_SECONDS
                task = asyncio.create_task(self._measure(key, replicas, interval))
                self._running[key] = task
                task.add_done_callback(partial(self._finished, key))

    def _finished(self, key: Key, _: asyncio.Task[None]) -> None:
        self._running.pop(key, None)

    async def _measure(self, key: Key, replicas: Replicas, interval: float) -> None:
        samples = await self._client.scrape(replicas)
        failed = any(sample.error for sample in samples)
        if failed and not self._failures.get(key):
            first = next(sample for sample in samples if sample.error)
            extra = {"resource": "/".join(key), "child": first.replica, "error": first.error}
            logger.warning("metrics missing", extra=extra)
        self._failures[key] = self._failures.get(key, 0) + 1 if failed else 0
        backoff = min(BACKOFF_LIMIT, interval * 2.0 ** min(self._failures[key], 8))
        self._samples[key] = samples
        self._due[key] = asyncio.get_running_loop().time() + (
            max(backoff, interval) if failed else interval
        )
        self._on_samples(key)

"""Mixed load for a while: no answer is wrong, no token changes, no memory is lost."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import httpx

from e2e.soak.canaries import Canaries
from e2e.soak.memory import ALL, Sample, growth, medians
from e2e.soak.report import Report, mebibytes, table
from e2e.soak.requests import Requests
from e2e.soak.sending import client, send
from e2e.soak.server import Server

CLIENTS = 8
PAUSE = 0.02
"""Seconds that a client waits between two requests: the load is bounded, whatever the machine."""
SAMPLE_SECONDS = 2.0
PARTS = 6
"""Of the time: the first is the warm-up, the second is compared with the last."""
MOST_GROWTH = 0.01


class Mixed:
    """Clients that send one request after another until `seconds` have passed."""

    def __init__(self, server: Server, seed: int, seconds: float) -> None:
        self._server = server
        self._seconds = seconds
        self._paths = _paths(server.url)
        self._seed = seed
        self._started = time.monotonic()
        self.counts: Counter[tuple[str, int]] = Counter()
        self.problems: list[str] = []
        self.samples: list[Sample] = []

    async def run(self) -> None:
        """Until the time is over, or the server is gone."""
        async with client(self._server.url, CLIENTS) as to:
            await asyncio.gather(
                self._watch(), *(self._keep_sending(to, i) for i in range(CLIENTS))
            )

    @property
    def _left(self) -> float:
        return self._seconds - (time.monotonic() - self._started)

    async def _keep_sending(self, to: httpx.AsyncClient, number: int) -> None:
        requests = Requests(self._seed * CLIENTS + number, self._paths)
        while self._left > 0 and self._server.alive:
            shot = requests.next()
            status, problem = await send(to, shot)
            self.counts[shot.kind, status] += 1
            if problem:
                self.problems.append(f"{shot.kind}: {problem}")
            await asyncio.sleep(PAUSE)

    async def _watch(self) -> None:
        while self._left > 0 and self._server.alive:
            readings = await asyncio.to_thread(self._server.readings)
            self.samples.append(Sample(time.monotonic() - self._started, readings))
            await asyncio.sleep(SAMPLE_SECONDS)


def run(seed: int, minutes: float) -> Report:
    """The whole scenario, on a server of its own."""
    report = Report("mixed load")
    with Server() as server:
        canaries = Canaries(server.url)
        mixed = Mixed(server, seed, minutes * 60)
        asyncio.run(mixed.run())
        for line in _counts(mixed):
            report.say(line)
        for problem in mixed.problems:
            report.blame(problem)
        if not server.alive:
            report.blame(f"the server ended:\n{server.log}")
            return report
        if left := server.why_not_idle():
            report.blame(left)
        for change in canaries.changed():
            report.blame(change)
        for line in _memory(mixed, report):
            report.say(line)
        if "Traceback" in server.log:
            report.blame(f"the server's log has a traceback:\n{server.log[-2000:]}")
    return report


def _counts(mixed: Mixed) -> Iterator[str]:
    rows = [
        (kind, status or "left", count) for (kind, status), count in sorted(mixed.counts.items())
    ]
    yield from table(("request", "status", "count"), rows)
    yield f"{mixed.counts.total()} requests, {len(mixed.problems)} wrong"


def _memory(mixed: Mixed, report: Report) -> Iterator[str]:
    found = {name: medians(mixed.samples, name, PARTS) for name in ("server", "engine", ALL)}
    head = ("resident MiB", "first", *(f"{part + 1}/{PARTS}" for part in range(PARTS)), "growth")
    yield from table(
        head,
        [
            (
                name,
                mebibytes(mixed.samples[0].resident(name)),
                *map(mebibytes, parts),
                f"{growth(parts):+.2%}",
            )
            for name, parts in found.items()
        ],
    )
    if growth(found[ALL]) > MOST_GROWTH:
        report.blame(f"memory grew by {growth(found[ALL]):.2%}")


def _paths(url: str) -> frozenset[str]:
    described = httpx.get(f"{url}/openapi.json", timeout=60).raise_for_status().json()
    return frozenset(described["paths"])

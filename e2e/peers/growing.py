"""`make bench-growth`: measures how costs grow, for docs/benchmarks/growth.md."""

import argparse
import asyncio
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from e2e.peers.engine import ROOT, STEP_TOKENS, THREADS, Engine, Size
from e2e.peers.environments import say
from e2e.peers.growth import (
    MOST_TOKENS,
    SEQUENCES,
    Point,
    concurrent,
    grid,
    load,
    steady_rate,
    step_seconds,
)
from e2e.peers.growth_page import Growth, read, write
from e2e.peers.models import MODELS
from e2e.peers.options import common, engines
from e2e.peers.ours import OURS
from e2e.peers.roofline import measure
from e2e.peers.runner import commit, session_of
from e2e.peers.serving import Server, end_on_sigterm, free_port
from plimsoll_bench import host
from plimsoll_bench.approach import warm_up
from plimsoll_bench.driver import Asking, Driven, drive
from plimsoll_bench.host_use import use_between
from plimsoll_bench.load import Load
from plimsoll_bench.report import rate, seconds

FOLDER = ROOT / "docs" / "benchmarks"
SIZE = Size(64, 8192)
Steps = tuple[tuple[int, int, float], ...]
Rates = tuple[tuple[int, float], ...]


class Growing:
    """One engine with one model, on a server that runs."""

    def __init__(self, server: Server, label: str, model: str, idle_wait: float) -> None:
        self._server, self._idle_wait = server, idle_wait
        self._session = session_of(server, label, model, idle_wait)
        self.noise = 0.0

    async def warm(self) -> None:
        """Finds out how to ask. Raises ApproachError."""
        session = self._session
        first = session.dialects[0]
        target = session.target
        asking = Asking(target, "model", first, session.tokens, session.patience)
        self._asking = await warm_up(asking, session.dialects)

    async def step(self, point: Point, repetitions: int) -> float | None:
        """Seconds, the best of the repetitions."""
        sent = load(point, STEP_TOKENS)
        found = [step_seconds((await self._drive(sent)).records) for _ in range(repetitions)]
        return min((each for each in found if each is not None), default=None)

    async def rate(self, concurrency: int) -> float | None:
        """Output tokens per second."""
        return steady_rate((await self._drive(concurrent(concurrency))).records)

    async def _drive(self, sent: Load) -> Driven:
        host.wait_until_idle(self._idle_wait)
        before = host.ticks(self._server.process)
        driven = await drive(sent, self._asking)
        use = use_between(before, host.ticks(self._server.process))
        self.noise = max(self.noise, use.noise if use is not None else 0.0)
        for each in driven.records:
            if each.failure:
                say(f"  {sent.name}: {each.failure}: {each.reason}")
                break
        return driven


async def grown(growing: Growing, options: argparse.Namespace) -> tuple[Steps, Rates]:
    """Both; after `--minutes` no further point is begun. Throughput comes first, as it takes
    little."""
    await growing.warm()
    deadline = time.monotonic() + 60 * options.minutes
    rates: list[tuple[int, float]] = []
    steps: list[tuple[int, int, float]] = []
    for count in SEQUENCES:
        made = await growing.rate(count) if time.monotonic() < deadline else None
        if made is not None:
            rates.append((count, made))
            say(f"  {count} at once: {rate(made)}")
    for point in grid(options.most_tokens):
        if time.monotonic() >= deadline:
            say("  the time is over")
            break
        took = await growing.step(point, options.repetitions)
        if took is not None:
            steps.append((point.sequences, point.context, took))
        say(f"  {point.sequences} × {point.context}: {seconds(took)}")
    return tuple(steps), tuple(rates)


def measured(engine: Engine, model: str, options: argparse.Namespace) -> Growth:
    """On a server that is started and ended. Raises RuntimeError and ApproachError."""
    say(f"{engine.name} on {model}")
    if engine.environment is not None:
        engine.environment.make()
    port = free_port()
    with Server(engine.start(MODELS[model], port, SIZE), port) as server:
        growing = Growing(server, engine.name, model, options.wait_idle)
        roofline = measure(THREADS)
        steps, rates = asyncio.run(grown(growing, options))
    return Growth(
        engine.name,
        engine.version or version("plimsoll"),
        model,
        engine.precision,
        commit(),
        datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        roofline,
        steps,
        rates,
        growing.noise,
    )


def main() -> None:
    """Each engine with each model; what was found of others before stays on the page."""
    parser = argparse.ArgumentParser(prog="python -m e2e.peers.growing", description=__doc__)
    common(parser, OURS)
    parser.add_argument("--most-tokens", type=int, default=MOST_TOKENS, help="of a point")
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="for each measurement")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    end_on_sigterm()
    for model in options.models.split(","):
        for engine in engines(options.peers).values():
            found = measured(engine, model, options)
            kept = [
                each
                for each in read(options.folder / "growth.json")
                if (each.engine, each.model) != (found.engine, found.model)
            ]
            write([*kept, found], options.folder, host.machine())


if __name__ == "__main__":
    main()

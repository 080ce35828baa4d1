"""`make bench-knee`: from which rate of the thinned trace on latency grows faster than load.

An engine's capacity is what it answers a second with many requests at once. The best of the others
then gets rising shares of its capacity.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from e2e.peers import trace
from e2e.peers.engine import Engine, Size
from e2e.peers.environments import say
from e2e.peers.measurement import Sitting
from e2e.peers.models import MODELS
from e2e.peers.options import common, engines
from e2e.peers.runner import session_of
from e2e.peers.serving import Server, end_on_sigterm, free_port
from plimsoll_bench.load import Arrivals
from plimsoll_bench.ramp import LoadPoint, knee
from plimsoll_bench.report import progress
from plimsoll_bench.result import Result, Run
from plimsoll_bench.session import bench
from plimsoll_bench.traffic import cut
from plimsoll_bench.wanted import Trace, Wanted
from plimsoll_operator.traces.trace_file import read_trace
from plimsoll_planner.simulation.arrival import Arrival

AT_ONCE, REQUESTS = 16, 32
SHARES = (0.4, 0.55, 0.7, 0.85, 1.0)
"""Of the capacity."""
BELOW = 0.9
"""Of the knee: just below it."""


class Knees:
    """Capacities (requests/s by model and engine) and knees (by model) in a sitting's folder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "knees.json"

    def rate(self, model: str) -> float | None:
        """Just below the model's knee; None where that is not known."""
        found = self._read().get(model, {}).get("knee")
        return None if found is None else BELOW * found

    def keep(self, model: str, capacities: dict[str, float], found: float) -> None:
        """Writes both."""
        told = self._read() | {model: {"capacities": capacities, "knee": found}}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self._file.exists():
            return {}
        found: dict[str, dict[str, Any]] = json.loads(self._file.read_text(encoding="utf-8"))
        return found


class Search:
    """For one model."""

    def __init__(
        self, model: str, requests: Sequence[Arrival], seconds: float, idle_wait: float
    ) -> None:
        self._model, self._requests = model, requests
        self._seconds, self._idle_wait = seconds, idle_wait

    def capacity(self, server: Server, name: str) -> float:
        """Requests per second with many at once."""
        load = Trace(trace.NAME, cut(self._requests, 1, trace.CONTEXT))
        wanted = Wanted(
            (trace.NAME,),
            load,
            Arrivals.CLOSED,
            concurrency=AT_ONCE,
            requests=REQUESTS,
            repetitions=1,
        )
        return self._run(server, name, wanted).figures.request_rate

    def knee(self, server: Server, name: str, capacity: float) -> float:
        """Where it is; the best of the rates tried where it is at their end."""
        points = []
        for number, share in enumerate(SHARES, 2):
            load = trace.at_rate(self._requests, share * capacity, self._seconds)
            wanted = Wanted((load.name,), load, repetitions=1, first_repetition=number)
            figures = self._run(server, name, wanted).figures
            latency = figures.e2e.mean if figures.e2e is not None and not figures.failed else None
            points.append(LoadPoint(share * capacity, latency))
        found = knee(points)
        if found is None:
            found = max(points, key=lambda each: each.rate / each.e2e if each.e2e else 0.0).rate
        return found

    def _run(self, server: Server, name: str, wanted: Wanted) -> Run:
        session = session_of(server, name, self._model, self._idle_wait)
        return asyncio.run(bench(session, wanted, is_ramp=False, ended=_told)).runs[0]


def search(model: str, wanted: Sequence[Engine], find: Search, knees: Knees) -> None:
    """All capacities, then the knee of the largest. Each engine is started once, as some take
    minutes; who does not compute is stopped."""
    servers: dict[str, Server] = {}
    capacities: dict[str, float] = {}
    try:
        for engine in wanted:
            if engine.environment is not None:
                engine.environment.make()
            port = free_port()
            server = Server(engine.start(MODELS[model], port, Size()), port)
            say(f"{model}: {engine.name}")
            server.start()
            servers[engine.name] = server
            capacities[engine.name] = find.capacity(server, engine.name)
            server.pause()
        best = max(capacities, key=capacities.__getitem__)
        servers[best].resume()
        found = find.knee(servers[best], best, capacities[best])
    finally:
        for server in servers.values():
            server.end()
    knees.keep(model, capacities, found)
    say(f"{model}: knee of {best} at {found:.3g} requests/s")


def _told(_: Result, run: Run) -> None:
    say(f"  {progress(run)}")


def main() -> None:
    """Searches, and keeps what it found in the sitting."""
    parser = argparse.ArgumentParser(prog="python -m e2e.peers.knee", description=__doc__)
    common(parser, "vllm,openvino")
    options = parser.parse_args()
    end_on_sigterm()
    requests = read_trace(str(options.trace), sys.stdin).requests
    found = list(engines(options.peers).values())
    for model in options.models.split(","):
        find = Search(model, requests, options.trace_seconds, options.wait_idle)
        search(model, found, find, Knees(Sitting(options.sitting).folder))


if __name__ == "__main__":
    main()

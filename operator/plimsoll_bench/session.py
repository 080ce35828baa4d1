"""Runs what is wanted against a server, one load after the other."""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from plimsoll_bench import host
from plimsoll_bench.approach import ApproachError, first_model, warm_up
from plimsoll_bench.dialect import Dialect
from plimsoll_bench.driver import Asking, Decode, drive
from plimsoll_bench.exchange import Target
from plimsoll_bench.figures import Figures, Objectives, client_figures, figures
from plimsoll_bench.host_use import use_between
from plimsoll_bench.load import Load
from plimsoll_bench.ramp import LASTS, LoadPoint, first_rate, knee, next_rate
from plimsoll_bench.result import Ramp, Result, Run
from plimsoll_bench.token_ids import TokenRange
from plimsoll_bench.traffic import closed
from plimsoll_bench.wanted import Wanted

PAUSE_SECONDS = 0.5
MOST_REASONS = 5
FEW = 3
"""Requests that tell how long one takes alone."""


@dataclass(frozen=True)
class Session:
    """A server, how to speak to it, and what to tell of it. `idle_wait` are the most seconds to
    wait before each load until the machine is idle."""

    url: str
    target: Target
    label: str | None
    model: str | None
    dialects: Sequence[Dialect]
    tokens: TokenRange
    objectives: Objectives
    patience: float
    idle_wait: float = 0.0
    server_process: int | None = None
    decode: Decode | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


async def bench(
    session: Session,
    wanted: Wanted,
    is_ramp: bool,
    ended: Callable[[Result, Run], None],
) -> Result:
    """Everything; `ended` is told after each run. Raises ApproachError and WantedError."""
    # What does not go together is refused before the server is asked.
    loads = [] if is_ramp else list(wanted.loads())
    if is_ramp:
        wanted.at_rate(1.0, 0.0, 0)
    model = session.model or await first_model(session.target)
    asking = Asking(
        session.target,
        model,
        session.dialects[0],
        session.tokens,
        session.patience,
        session.decode,
        session.extra,
    )
    asking = await warm_up(asking, session.dialects)
    result = Result(
        session.label or model,
        session.url,
        model,
        str(asking.dialect),
        datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        {"plimsoll": version("plimsoll"), "python": platform.python_version()},
        session.objectives,
        machine=host.machine(),
    )
    server = _server(session)
    for repetition, load in loads:
        run = await _run(load, repetition, asking, session, server)
        result = replace(result, runs=(*result.runs, run))
        ended(result, run)
    if is_ramp:
        alone = await _alone(wanted, asking)
        points: list[LoadPoint] = []
        runs: list[Run] = []
        rate: float | None = first_rate(alone)
        while rate is not None:
            number = len(runs) + 1
            load = wanted.at_rate(rate, LASTS * alone, number)
            run = await _run(load, number, asking, session, server)
            found = run.figures
            runs.append(run)
            latency = found.e2e.mean if found.e2e is not None and not found.failed else None
            points.append(LoadPoint(rate, latency))
            runs.sort(key=lambda each: each.rate or 0.0)
            ramp = Ramp(tuple(runs), knee(points), sustained(runs, session.objectives))
            result = replace(result, ramp=ramp)
            ended(result, run)
            rate = next_rate(points)
    return result


def sustained(runs: Sequence[Run], objectives: Objectives) -> float | None:
    """The highest of rising rates up to which none failed and 95 of 100 keep each objective."""
    found = None
    for run in runs:
        if not objectives or not keeps(run.figures, objectives):
            break
        found = run.rate
    return found


def keeps(found: Figures, objectives: Objectives) -> bool:
    """Whether none failed, and the 95th percentiles are within the objectives."""
    return not found.failed and all(
        promised is None or spread is None or spread.p95 <= promised
        for spread, promised in ((found.ttft, objectives.ttft), (found.tpot, objectives.tpot))
    )


async def _alone(wanted: Wanted, asking: Asking) -> float:
    """Seconds of a request that meets no other. Raises ApproachError."""
    load = wanted.at_rate(1.0, 0.0, 0)
    few = closed(replace(load, requests=load.requests[:FEW]), 1)
    driven = await drive(few, asking)
    found = figures(driven.records, Objectives())
    if found.e2e is None:
        raise ApproachError(f"requests fail, such as: {driven.records[0].reason}")
    return max(found.e2e.mean, 1e-3)


async def _run(
    load: Load, repetition: int, asking: Asking, session: Session, server: int | None
) -> Run:
    host.wait_until_idle(session.idle_wait)
    time.sleep(PAUSE_SECONDS)  # noqa: ASYNC251 - nothing else runs on this loop
    before = host.ticks(server)
    driven = await drive(load, asking)
    after = host.ticks(server)
    reasons = dict.fromkeys(each.reason for each in driven.records if each.failure)
    return Run(
        load.name,
        repetition,
        load.spec,
        load.arrivals,
        figures(driven.records, session.objectives),
        client_figures(driven.records, driven.lags, driven.cpu_seconds, driven.seconds),
        use_between(before, after),
        tuple("" if each.failure else each.digest for each in driven.records),
        load.rate,
        load.concurrency,
        tuple(reasons)[:MOST_REASONS],
    )


def _server(session: Session) -> int | None:
    if session.server_process is not None:
        return session.server_process
    local = session.target.host in ("127.0.0.1", "localhost", "::1")
    return host.listening_process(session.target.port) if local else None

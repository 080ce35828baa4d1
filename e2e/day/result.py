"""What a run has found: as JSON, and as a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from e2e.day.attribution import Kill, attributed
from e2e.day.disturbance import Happened
from e2e.day.figures import Window, changes, percentile, replica_seconds, windows
from e2e.day.observer import Sample
from e2e.day.request import Objectives, Request
from e2e.day.schedule import Kind

WINDOWS = 144
"""Ten minutes of the day each."""
LATEST = 1.0
"""Seconds by which one of a hundred requests may be sent late while latencies mean anything."""


@dataclass(frozen=True)
class Setup:
    """What was run. `planned` replicas are those of the plan for the mean rate, `static` what the
    fullest minutes take by the plan's rate of a replica."""

    hours: float
    seed: int
    peak: float
    mean: float
    objectives: Objectives
    planned: int
    static: int
    replica_rate: float
    most_replicas: int
    machine: Mapping[str, str]
    commit: str
    started: str


@dataclass(frozen=True)
class Totals:
    """Of the whole run; seconds."""

    requests: int
    kept: int
    failed: int
    on_killed_pods: int
    ttft_p50: float | None
    ttft_p95: float | None
    tpot_p50: float | None
    tpot_p95: float | None
    lag_p99: float | None
    replica_seconds: float
    planned_seconds: float
    static_seconds: float
    pods: int
    restarts: int


@dataclass(frozen=True)
class Failed:
    """A request without an answer; `pod` is the killed one that explains it, or empty."""

    request: Request
    pod: str


@dataclass(frozen=True)
class Result:
    """What documentation needs. `seconds` is how long the run went, `wrong` what must not be,
    `samples` are those that differ from the one before, `remarks` those of whoever ran it."""

    setup: Setup
    seconds: float
    complete: bool
    totals: Totals
    wrong: tuple[str, ...]
    windows: tuple[Window, ...]
    samples: tuple[Sample, ...]
    events: tuple[Happened, ...]
    failures: tuple[Failed, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """What was seen until `seconds`. `expected` requests were due by then."""

    setup: Setup
    seconds: float
    complete: bool
    expected: int
    requests: Sequence[Request]
    samples: Sequence[Sample]
    events: Sequence[Happened]
    kills: Sequence[Kill]
    pods: int
    restarts: int
    trouble: Sequence[str] = ()


_RESULT = TypeAdapter(Result)
_REQUESTS = TypeAdapter(list[Request])


def result(run: Run) -> Result:
    """Pure."""
    setup = run.setup
    explained = attributed(run.requests, run.kills)
    failures = [Failed(each, kill.pod if kill else "") for each, kill in explained.items()]
    width = setup.hours * 3600 / WINDOWS
    ttft = [each.ttft for each in run.requests if each.ttft is not None]
    tpot = [each.tpot for each in run.requests if each.tpot is not None]
    totals = Totals(
        requests=len(run.requests),
        kept=sum(setup.objectives.hold(each) for each in run.requests),
        failed=len(failures),
        on_killed_pods=sum(bool(each.pod) for each in failures),
        ttft_p50=percentile(ttft, 0.5),
        ttft_p95=percentile(ttft, 0.95),
        tpot_p50=percentile(tpot, 0.5),
        tpot_p95=percentile(tpot, 0.95),
        lag_p99=_lag(run.requests),
        replica_seconds=replica_seconds(run.samples, run.seconds),
        planned_seconds=setup.planned * run.seconds,
        static_seconds=setup.static * run.seconds,
        pods=run.pods,
        restarts=run.restarts,
    )
    return Result(
        setup,
        run.seconds,
        run.complete,
        totals,
        tuple(_wrong(run, failures)),
        tuple(windows(run.requests, setup.objectives, width, run.seconds)),
        tuple(changes(run.samples)),
        tuple(run.events),
        tuple(failures),
    )


def _wrong(run: Run, failures: Sequence[Failed]) -> list[str]:
    found = list(run.trouble)
    for each in failures:
        if not each.pod:
            request = each.request
            found.append(
                f"failed, and no killed pod explains it: due at {request.due:.1f} s, ended at "
                f"{request.ended:.1f} s: {request.failure}: {request.reason}"
            )
    found += [f"{each.kind} at {each.at:.0f} s: {each.wrong}" for each in run.events if each.wrong]
    killed = sum(each.kind is Kind.ENGINE_KILLED and bool(each.pod) for each in run.events)
    if run.restarts > killed:
        found.append(f"containers were restarted {run.restarts} times, killed {killed} times")
    if (lag := _lag(run.requests) or 0.0) > LATEST:
        found.append(f"one of 100 requests was sent {lag:.1f} s late: the machine was too busy")
    if len(run.requests) < run.expected:
        found.append(f"nothing is known of {run.expected - len(run.requests)} requests")
    return found


def _lag(requests: Sequence[Request]) -> float | None:
    return percentile((each.begun - each.due for each in requests), 0.99)


def write(found: Result, requests: Sequence[Request], file: Path) -> None:
    """FILE with the result, and FILE's name with `.requests.json` for every request."""
    file.write_bytes(_RESULT.dump_json(found, indent=1) + b"\n")
    file.with_suffix(".requests.json").write_bytes(_REQUESTS.dump_json(list(requests)) + b"\n")


def read(file: Path) -> Result:
    """Raises pydantic's ValidationError."""
    return _RESULT.validate_json(file.read_bytes())

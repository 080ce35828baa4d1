"""Takes turns: an engine is started, sent the workloads, and ended or put to sleep."""

import asyncio
import subprocess
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Self

from e2e.peers import trace
from e2e.peers.answers import answered
from e2e.peers.correctness import Agreement, Answered, agreement
from e2e.peers.engine import ROOT, THREADS, Engine, Size
from e2e.peers.environments import say
from e2e.peers.measurement import Measurement, Turn
from e2e.peers.models import MODELS
from e2e.peers.ours import OURS
from e2e.peers.roofline import measure
from e2e.peers.serving import Server, free_port
from plimsoll_bench.approach import ApproachError
from plimsoll_bench.dialect import dialects
from plimsoll_bench.exchange import Target
from plimsoll_bench.report import progress
from plimsoll_bench.result import Result, Run
from plimsoll_bench.session import Session, bench
from plimsoll_bench.token_ids import TokenRange
from plimsoll_bench.wanted import Trace, Wanted

PATIENCE_SECONDS = 900.0
WHOLE_ANSWER = 128
"""Tokens of ours that are checked; of others' a few tell whether the model is the same."""


@dataclass(frozen=True)
class Work:
    """What is sent: workloads by name, and a trace for a model. `idle_wait` are the most seconds
    to wait before each until the machine is idle."""

    workloads: tuple[str, ...]
    traces: Mapping[str, Trace] = field(default_factory=dict)
    idle_wait: float = 30.0

    def of(self, engine: Engine, model: str, done: Collection[str] = ()) -> list[Wanted]:
        """What an engine is sent, each once, without what is `done`."""
        names = tuple(name for name in self.workloads if engine.runs(name) and name not in done)
        found = [Wanted(names, repetitions=1)] if names else []
        recorded = self.traces.get(model)
        if recorded is not None and engine.runs(trace.NAME) and recorded.name not in done:
            found.append(Wanted((recorded.name,), recorded, repetitions=1))
        return found

    def names(self, engine: Engine, model: str) -> set[str]:
        """Of its workloads."""
        return {name for each in self.of(engine, model) for name in each.workloads}


class Runner:
    """Of `engines` by name, to be used with `with`: at its end no server is left. `checked` are
    agreements by engine and model that were found before; they are not looked for again."""

    def __init__(
        self,
        engines: Mapping[str, Engine],
        work: Work,
        checked: Mapping[tuple[str, str], Agreement],
    ) -> None:
        self._engines, self._work = engines, work
        self._checked = dict(checked)
        self._asleep: dict[tuple[str, str], Server] = {}
        self._commit = commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._asleep.values():
            server.end()

    def take(self, turn: Turn, before: Measurement | None = None) -> Measurement:
        """What came of it, added to what is known from `before`; failures are told in it."""
        begun = time.monotonic()
        engine = self._engines[turn.engine]
        found = Measurement(
            turn,
            engine.version or version("plimsoll"),
            engine.precision,
            "",
            self._commit,
            "",
            0.0,
        )
        known = before.result.runs if before is not None and before.result else ()
        try:
            found = self._measured(engine, found, known)
        except (RuntimeError, ApproachError, ValueError) as error:
            say(f"  failed: {error}")
            found = replace(found, error=str(error)[-1000:])
        return replace(
            found,
            seconds=time.monotonic() - begun + (before.seconds if before else 0.0),
            ended=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )

    def _measured(self, engine: Engine, found: Measurement, known: tuple[Run, ...]) -> Measurement:
        turn = found.turn
        key = (turn.engine, turn.model)
        first = None if engine.slow else _first_start(engine, turn.model)
        server = self._server(engine, turn.model)
        ready = server.ready_seconds if key not in self._asleep else None
        roofline = measure(THREADS)
        answer: Answered | None = None
        try:
            result = self._sent(engine, server, turn, known)
            if key not in self._checked:
                is_ours = engine.name.startswith(OURS)
                many = {"tokens": WHOLE_ANSWER} if is_ours else {}
                answer = answered(server.url, is_ours=is_ours, **many)
        except BaseException:
            self._asleep.pop(key, None)
            server.end()
            raise
        if engine.slow:
            self._sleep(key, server)
        else:
            server.end()
        if answer is not None:
            self._checked[key] = agreement(MODELS[turn.model].make(), answer)
        return replace(
            found,
            note=server.note,
            first_token_seconds=ready,
            first_start_seconds=first,
            peak_bytes=server.peak_bytes,
            result=result,
            roofline=roofline,
            agreement=self._checked[key],
        )

    def _server(self, engine: Engine, name: str) -> Server:
        """One that runs."""
        server = self._asleep.get((engine.name, name))
        if server is None:
            server = _server(engine, name)
            server.start()
        else:
            server.resume()
        return server

    def _sleep(self, key: tuple[str, str], server: Server) -> None:
        server.pause()
        self._asleep[key] = server

    def _sent(self, engine: Engine, server: Server, turn: Turn, known: tuple[Run, ...]) -> Result:
        session = session_of(server, engine.name, turn.model, self._work.idle_wait)
        runs, done = known, {run.workload for run in known}
        for wanted in self._work.of(engine, turn.model, done):
            numbered = replace(wanted, first_repetition=turn.round)
            result = asyncio.run(bench(session, numbered, is_ramp=False, ended=_told))
            runs += result.runs
        return replace(result, runs=runs)


def _server(engine: Engine, name: str) -> Server:
    """One that is yet to be started."""
    if engine.environment is not None:
        engine.environment.make()
    port = free_port()
    return Server(engine.start(MODELS[name], port, Size()), port)


def _first_start(engine: Engine, name: str) -> float:
    """Seconds until it has answered; what it read is in memory for the next start."""
    with _server(engine, name) as server:
        return server.ready_seconds


def session_of(server: Server, label: str, model: str, idle_wait: float) -> Session:
    """For the bench."""
    return Session(
        server.url,
        Target.of(server.url),
        label,
        None,
        dialects(chat=False, text=False),
        TokenRange(),
        trace.OBJECTIVES[model],
        PATIENCE_SECONDS,
        idle_wait,
        server.process,
    )


def commit() -> str:
    """The last one that changed our engine, with a `+` where files differ from it; empty outside
    of a clone."""
    head = _git("log", "-1", "--format=%h", "--", "runtime")
    changed = _git("status", "--porcelain", "--untracked-files=no", "runtime")
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str:
    git = ("git", "-C", str(ROOT), *arguments)
    return subprocess.run(git, check=False, capture_output=True, text=True).stdout.strip()


def _told(_: Result, run: Run) -> None:
    say(f"  {progress(run)}")

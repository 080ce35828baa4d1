"""`make bench-peers`: our engine and others on this machine, in turns, to docs/benchmarks.

Takes hours with all engines and both models, and a machine that has nothing else to do.
"""

import argparse
import asyncio
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import httpx
from pydantic import TypeAdapter

from e2e.peers.correctness import Agreement, Answered, agreement
from e2e.peers.engines import ENGINES, ROOT, THREADS, Engine, Start
from e2e.peers.environments import run, say
from e2e.peers.models import MODELS, RandomModel
from e2e.peers.page import OURS, Limits, Measured, Started, page
from e2e.peers.roofline import Roofline, best_of
from e2e.peers.serving import Server, free_port
from plimsoll_bench import host
from plimsoll_bench.approach import ApproachError
from plimsoll_bench.dialect import dialects
from plimsoll_bench.exchange import Target
from plimsoll_bench.figures import Objectives
from plimsoll_bench.report import progress
from plimsoll_bench.result import Result, Run
from plimsoll_bench.session import Session, bench
from plimsoll_bench.token_ids import TokenRange
from plimsoll_bench.wanted import Wanted
from plimsoll_bench.workloads import workload

RESULT = ROOT / "docs" / "benchmarks" / "peers"
PATIENCE_SECONDS = 900.0
_DOCUMENT = TypeAdapter(list[Measured])


class Comparison:
    """One model on several engines, round after round."""

    def __init__(
        self, model: RandomModel, engines: list[Engine], workloads: tuple[str, ...], idle: float
    ) -> None:
        self._model, self._engines = model, engines
        self._workloads, self._idle = workloads, idle
        self._results: dict[str, Result] = {}
        self._started: dict[str, Started] = {}
        self._rooflines: list[Roofline] = []
        self._failed: dict[str, str] = {}
        self._agreement: Agreement | None = None

    def round(self, number: int) -> None:
        """Every engine once, then what the machine can do. An engine that fails is left out of the
        rounds that follow."""
        for engine in self._engines:
            wanted = tuple(name for name in self._workloads if engine.runs(name))
            if wanted and engine.name not in self._failed:
                say(f"round {number}: {engine.name} on {self._model.name}")
                try:
                    self._one(engine, Wanted(wanted, repetitions=1, first_repetition=number))
                except (RuntimeError, ApproachError) as error:
                    say(f"  failed: {error}")
                    self._failed[engine.name] = str(error)
        told = json.loads(
            run(sys.executable, "-m", "e2e.peers.roofline", str(THREADS), folder=ROOT)
        )
        self._rooflines.append(Roofline(**told))
        say(f"  {self._rooflines[-1]}")

    def measured(self) -> Measured:
        """All of it, so far."""
        facts, roofline = self._model.facts, best_of(self._rooflines)
        return Measured(
            self._model.name,
            facts.linear_parameters + facts.head_parameters,
            tuple(self._results.values()),
            tuple(self._started.values()),
            Limits(roofline, roofline.tpot(facts), roofline.prefill(facts, 1024)),
            self._agreement,
            self._failed,
        )

    def _one(self, engine: Engine, wanted: Wanted) -> None:
        if engine.environment is not None:
            engine.environment.make()
        port = free_port()
        start = engine.start(self._model, port)
        server = Server(start, port)
        answered = None
        with server:
            session = self._session(engine, server)
            result = asyncio.run(bench(session, wanted, is_ramp=False, ended=_told))
            if engine.name == OURS and self._agreement is None:
                answered = self._answered(server)
        if answered is not None:
            self._agreement = agreement(self._model.folder, answered)
            say(f"  {self._agreement}")
        self._keep(engine, start, server, result)

    def _session(self, engine: Engine, server: Server) -> Session:
        return Session(
            server.url,
            Target.of(server.url),
            engine.name,
            None,
            dialects(chat=False, text=False),
            TokenRange(),
            Objectives(),
            PATIENCE_SECONDS,
            self._idle,
            server.process,
        )

    def _answered(self, server: Server) -> Answered:
        """What it says to W1's first prompt, with log-probabilities."""
        request = workload("W1", 1).requests[0]
        prompt = request.token_ids(TokenRange())
        body = {
            "model": "model",
            "prompt": prompt,
            "max_tokens": request.output_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "return_token_ids": True,
            "logprobs": 0,
            "prompt_logprobs": 0,
        }
        found = httpx.post(f"{server.url}/v1/completions", json=body, timeout=PATIENCE_SECONDS)
        choice = found.raise_for_status().json()["choices"][0]
        told = zip(prompt[1:], choice["prompt_logprobs"][1:], strict=True)
        logprobs = [each[str(token)]["logprob"] for token, each in told]
        logprobs += choice["logprobs"]["token_logprobs"]
        return Answered(prompt, choice["token_ids"], logprobs)

    def _keep(self, engine: Engine, start: Start, server: Server, result: Result) -> None:
        earlier = self._results.get(engine.name)
        runs = (earlier.runs if earlier else ()) + result.runs
        self._results[engine.name] = replace(result, runs=runs)
        before = self._started.get(engine.name)
        self._started[engine.name] = Started(
            engine.name,
            engine.version or version("plimsoll"),
            start.note,
            start.command[1:],
            (*(before.ready_seconds if before else ()), server.ready_seconds),
            max(server.peak_bytes, before.peak_bytes if before else 0),
        )


def _told(_: Result, run: Run) -> None:
    say(f"  {progress(run)}")


def main() -> None:
    """Measures, and writes what was found after each model."""
    options = _parser().parse_args()
    engines = [ENGINES[name] for name in options.peers.split(",")]
    found: list[Measured] = []
    for name in options.models.split(","):
        comparison = Comparison(
            MODELS[name], engines, tuple(options.workloads.split(",")), options.wait_idle
        )
        for number in range(1, options.rounds + 1):
            comparison.round(number)
        found.append(comparison.measured())
        write(found, options.output)
    if any(each.agreement is not None and not each.agreement.holds for each in found):
        sys.exit("our answers are wrong: see the page")


def write(found: list[Measured], output: Path) -> None:
    """The page, and the same as JSON beside it."""
    output.parent.mkdir(parents=True, exist_ok=True)
    document = _DOCUMENT.dump_json(found, indent=1).decode() + "\n"
    output.with_suffix(".json").write_text(document, encoding="utf-8")
    made = datetime.now(UTC).strftime("%Y-%m-%d")
    text = page(found, made, host.machine())
    output.with_suffix(".md").write_text(text, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.peers", description=__doc__)
    add = parser.add_argument
    add("--peers", default=",".join(ENGINES), help=f"of {', '.join(ENGINES)}")
    add("--models", default=",".join(MODELS), help=f"of {', '.join(MODELS)}")
    add("--workloads", default="W1,W2,W3,W4,W5r1,W5r2")
    add("--rounds", type=int, default=3)
    add("--wait-idle", type=float, default=30.0, help="most seconds to wait for idle cores")
    add("--output", type=Path, default=RESULT)
    return parser


if __name__ == "__main__":
    main()

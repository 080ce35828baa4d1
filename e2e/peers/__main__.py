"""`make bench-peers`: our engine and others on this machine, in turns, to docs/benchmarks.

What was measured is kept under the sitting's name: started again, it goes on where it ended.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

from pydantic import TypeAdapter

from e2e.peers import trace
from e2e.peers.engine import ROOT, Engine, Precision
from e2e.peers.engines import ENGINES
from e2e.peers.environments import say
from e2e.peers.knee import Knees
from e2e.peers.measurement import Measurement, Sitting, Turn
from e2e.peers.options import common
from e2e.peers.options import engines as available
from e2e.peers.ours import OURS
from e2e.peers.page import page
from e2e.peers.runner import Runner, Work, commit
from e2e.peers.serving import end_on_sigterm
from e2e.peers.turns import next_turn, turns
from plimsoll_bench import host
from plimsoll_bench.wanted import Trace
from plimsoll_operator.traces.trace_file import read_trace

RESULT = ROOT / "docs" / "benchmarks" / "peers"
_DOCUMENT = TypeAdapter(list[Measurement])


def main() -> None:
    """Measures until all is there or the time is over, and writes the page after every turn."""
    options = _parser().parse_args()
    end_on_sigterm()
    sitting = Sitting(options.sitting)
    engines = available(options.peers)
    models = options.models.split(",")
    names = tuple(name for name in options.workloads.split(",") if name)
    fixed = tuple(name for name in names if name != trace.NAME)
    traces = _traces(options, models, sitting) if trace.NAME in names else {}
    work = Work(fixed, traces, options.wait_idle)
    if not options.page:
        wanted = list(turns(options.rounds, models, list(engines)))
        _measure(options, sitting, engines, work, wanted)
    found = _current(sitting.kept())
    if not found:
        sys.exit(f"nothing was measured: {sitting.folder}")
    write(found, options.output)
    if any(_is_wrong(each) for each in found):
        sys.exit("answers of ours are wrong: see the page")


def _measure(
    options: argparse.Namespace,
    sitting: Sitting,
    engines: Mapping[str, Engine],
    work: Work,
    wanted: Sequence[Turn],
) -> None:
    deadline = time.monotonic() + 60 * options.minutes
    kept = {each.turn: each for each in sitting.kept()}
    now = commit()
    left = [
        turn
        for turn in wanted
        if not _counts(found := kept.get(turn), turn, now)
        or not found.has(work.names(engines[turn.engine], turn.model))
    ]
    took = {(turn.model, turn.engine): found.seconds for turn, found in kept.items()}
    checked = {
        (turn.engine, turn.model): found.agreement
        for turn, found in kept.items()
        if found.agreement is not None and (found.commit == now or turn.engine in _others())
    }
    with Runner(engines, work, checked) as runner:
        while left:
            turn = next_turn(left, took, deadline - time.monotonic())
            if turn is None:
                say(f"the time is over; {len(left)} turns are left: run it again to go on")
                return
            say(f"round {turn.round}: {turn.engine} on {turn.model}")
            before = kept.get(turn)
            found = runner.take(turn, before if _counts(before, turn, now) else None)
            sitting.keep(found)
            starting = found.first_token_seconds if engines[turn.engine].slow else None
            took[turn.model, turn.engine] = found.seconds - (starting or 0.0)
            left.remove(turn)
            if found.error:
                left = [
                    each for each in left if (each.model, each.engine) != (turn.model, turn.engine)
                ]
            write(_current(sitting.kept()), options.output)


def _counts(found: Measurement | None, turn: Turn, now: str) -> TypeGuard[Measurement]:
    """Whether what was kept is of what we would measure: our sources may have changed since."""
    if found is None or found.error:
        return False
    return turn.engine in _others() or found.commit == now


def _current(found: Sequence[Measurement]) -> list[Measurement]:
    """Without those of ours that are of other sources than the last one."""
    ours = [each for each in found if each.turn.engine not in _others()]
    last = max(ours, key=lambda each: each.ended).commit if ours else ""
    return [each for each in found if each.turn.engine in _others() or each.commit == last]


def _others() -> set[str]:
    return {name for name in ENGINES if not name.startswith(OURS)}


def _traces(
    options: argparse.Namespace, models: Sequence[str], sitting: Sitting
) -> Mapping[str, Trace]:
    """Each model's at its rate, or just below the knee of the best other engine."""
    told = dict(each.split("=") for each in options.trace_rate.split(",") if each)
    requests = read_trace(str(options.trace), sys.stdin).requests
    knees = Knees(sitting.folder)
    found = {}
    for model in models:
        rate = float(told[model]) if model in told else knees.rate(model)
        if rate is None:
            sys.exit(f"{model}: no knee is known: `make bench-knee` first, or give --trace-rate")
        found[model] = trace.at_rate(requests, rate, options.trace_seconds)
    return found


def _is_wrong(found: Measurement) -> bool:
    each = found.agreement
    ours = found.turn.engine == OURS and found.precision is Precision.BF16
    return ours and each is not None and not each.holds


def write(found: Sequence[Measurement], output: Path) -> None:
    """The page, and the same as JSON beside it."""
    output.parent.mkdir(parents=True, exist_ok=True)
    document = json.loads(_DOCUMENT.dump_json(list(found)))
    for result in (each["result"] for each in document if each["result"]):
        # llama.cpp's server tells where the file lies.
        result["model"] = Path(result["model"]).name
        # Digests of answers are for `compare`, and most of the file.
        for run in result["runs"]:
            run["answers"] = []
    output.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    output.with_suffix(".md").write_text(page(found, host.machine()), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.peers", description=__doc__)
    common(parser, ",".join(ENGINES))
    add = parser.add_argument
    add("--workloads", default="W1,W2,W3,W4", help=f"of W1 to W4, W5rN and {trace.NAME}")
    add("--rounds", type=int, default=3)
    add("--minutes", type=float, default=float("inf"), help="no turn is begun that would end later")
    add("--page", action="store_true", help="only write the page of what was measured")
    add("--trace-rate", default="", metavar="MODEL=R,…", help="requests/s (just below the knee)")
    add("--output", type=Path, default=RESULT)
    return parser


if __name__ == "__main__":
    main()

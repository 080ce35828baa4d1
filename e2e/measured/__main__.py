"""`python -m e2e.measured`: calibrates the engine on this machine, then measures traces at loads.

Writes docs/measured.json, which holds what was measured and no prediction: `docs/plots/measured.py`
predicts the same with the planner as it is. Takes 20 minutes on two cores, which must have nothing
else to do.
"""

import argparse
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from e2e.measured import lengths, random_llama
from e2e.measured.awake import awake
from e2e.measured.calibrated import calibrate_on
from e2e.measured.comparison import expected_knee, measured, predicted
from e2e.measured.engine import Engine
from e2e.measured.probes import probe
from e2e.measured.rehearsal import rates, rehearse
from e2e.measured.subjects import SUBJECTS, Subject
from e2e.measured.traffic import TRACES, sendings
from plimsoll_bench.host import EXTENSIONS
from plimsoll_planner.simulation.trace import at_rate

RESULT = Path(__file__).parents[2] / "docs" / "measured.json"
LOADS = (0.4, 0.7, 1.0, 1.3)
"""Of the knee that is predicted."""
PAUSE_SECONDS = 1.0

Measured = dict[str, Any]


def main() -> None:
    """Measures everything, keeping what is done after each load."""
    options = _parser().parse_args()
    result: Measured = {
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": {name: version(name) for name in ("plimsoll", "torch")},
        "models": [],
    }

    def save() -> None:
        options.output.write_text(_written(result), encoding="utf-8")

    with tempfile.TemporaryDirectory() as folder, awake(os.sched_getaffinity(0)):
        for subject in SUBJECTS:
            if options.model in subject.name:
                measure(subject, Path(folder), result, save)


def measure(subject: Subject, folder: Path, result: Measured, save: Callable[[], None]) -> None:
    """One model: calibration, then all loads of all traces."""
    source = subject.name
    if subject.config is not None:
        source = str(folder / "model")
        random_llama.write(subject.config, Path(source))
    facts = subject.facts
    found: Measured = {"name": subject.name}
    result["models"].append(found)
    with Engine(source) as engine:
        _say(f"{subject.name}: calibrating")
        limits, probed = engine.limits(), probe(engine, facts.vocab_size)
        found |= {"limits": limits, "probed": probed.plain(), "traces": []}
        save()
        probes_only = calibrate_on(probed, facts, limits)
        _say(f"{probes_only.fit}\n{probes_only.replica.frontend}")
        for trace in TRACES:
            longest, first = limits["max_model_len"], subject.requests
            longer = lengths.longer(probes_only.replica, trace, first)
            arrivals = trace.arrivals(first, longest, longer=longer)
            later = trace.arrivals(subject.rehearsed, longest, skip=first, longer=longer)
            knee = expected_knee(probes_only.replica, arrivals)
            rehearsed = rehearse(engine, later, rates(knee), facts.vocab_size)
            known = calibrate_on(probed, facts, limits, rehearsed, later)
            knee = expected_knee(known.replica, arrivals)
            _say(f"{known.fit}\n{known.replica.frontend}")
            _say(f"{trace.name}, {longer} times as long: knee predicted at {knee:.3g} requests/s")
            loads: list[Measured] = []
            found["traces"].append(
                {
                    "name": trace.name,
                    "requests": len(arrivals),
                    "longer": longer,
                    **rehearsed.plain(),
                    "loads": loads,
                }
            )
            for rate in (share * knee for share in LOADS):
                coming = at_rate(arrivals, rate)
                time.sleep(PAUSE_SECONDS)
                records = engine.send(sendings(coming, facts.vocab_size, f"{trace.name} {rate}"))
                late = max(each.late for each in records)
                figures = measured(records)
                loads.append({"rate": rate, "measured": figures._asdict(), "late": late})
                save()
                _say(f"  {rate:.3g}/s measured {figures}")
                _say(f"      predicted {predicted(known.replica, coming)}")


def machine() -> Measured:
    """What the figures depend on."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = set(_line(text, "flags").split())
    return {
        "cpu": _line(text, "model name"),
        "family": f"{_line(text, 'cpu family')}/{_line(text, 'model')}",
        "cores": os.cpu_count(),
        "extensions": [name for name in EXTENSIONS if name in flags],
        "python": platform.python_version(),
        "kernel": platform.release().partition("-")[0],
    }


def _line(text: str, name: str) -> str:
    found = re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def _written(result: Measured) -> str:
    """As JSON, lists of numbers on one line."""
    text = json.dumps(result, indent=1)
    return re.sub(r"\[[^][{}\"]*\]", lambda found: " ".join(found[0].split()), text) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.measured", description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--model", default="", help="part of the name of the only model to measure")
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

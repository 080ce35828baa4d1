"""`python -m e2e.measured`: calibrates the engine on this machine, predicts, measures, compares.

Writes docs/measured.json; `docs/plots/measured.py` makes a page and a picture of it. Takes about 20
minutes on two cores, which must have nothing else to do.
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
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from e2e.measured import random_llama
from e2e.measured.calibrated import Calibrated, calibrate_on
from e2e.measured.comparison import Load, measured, predicted
from e2e.measured.engine import Engine
from e2e.measured.probes import probe
from e2e.measured.traffic import TRACES, Recorded, sendings
from plimsoll_operator.planning.model_source import read_model_config, read_model_directory
from plimsoll_planner.accelerators import CPU, find
from plimsoll_planner.model_facts import ModelFacts, model_facts
from plimsoll_planner.shape import Shape
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.load_curve import SHARES, bend, capacity
from plimsoll_planner.simulation.trace import at_rate

RESULT = Path(__file__).parents[2] / "docs" / "measured.json"
LOADS = (0.3, 0.7, 1.0, 1.3)
"""Of the knee that is predicted."""
TINY, RANDOM = "builtin://tiny", "random Llama of 135M"
REQUESTS = {TINY: 500, RANDOM: 200}
PRECISION = "BF16"
"""What the engine takes for both checkpoints."""
PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Subject:
    """A model to be served: its name here, where it is, and its facts."""

    name: str
    source: str
    facts: ModelFacts


def main() -> None:
    """Measures everything, keeping what is done after each load."""
    options = _parser().parse_args()
    result: dict[str, Any] = {
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": {name: version(name) for name in ("plimsoll", "torch")},
        "models": [],
    }

    def save() -> None:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    with tempfile.TemporaryDirectory() as folder:
        for subject in subjects(Path(folder)):
            if options.model in subject.name:
                found: dict[str, Any] = {"name": subject.name}
                result["models"].append(found)
                measure(subject, found, options, save)


def subjects(folder: Path) -> list[Subject]:
    """The built-in model, and one that is written into `folder`."""
    path = folder / "llama-135m"
    random_llama.write(random_llama.LLAMA_135M, path)
    return [
        Subject(TINY, TINY, model_facts(read_model_config(TINY).model)),
        Subject(RANDOM, str(path), model_facts(read_model_directory(path).model)),
    ]


def measure(
    subject: Subject, found: dict[str, Any], options: argparse.Namespace, save: Callable[[], None]
) -> None:
    """One model: calibration, then all loads of all traces."""
    facts = subject.facts
    with Engine(subject.source) as engine:
        limits = engine.limits()
        _say(f"{subject.name}: calibrating")
        probed = probe(engine, facts.vocab_size)
        known = calibrate_on(probed, facts, shape(), limits)
        found |= {"parameters": facts.parameters, "limits": limits}
        found["calibration"] = asdict(known.fit) | {"outside": asdict(known.outside)}
        found |= {"reached": reached(known.shape), "step_seconds": known.step.fixed}
        found["traces"] = []
        save()
        _say(f"{known.fit}\n{known.outside}")
        _keep(options.raw, f"{subject.facts.hidden_size}-probes", asdict(probed))
        for trace in TRACES:
            count = round(REQUESTS[subject.name] * options.share)
            arrivals = trace.arrivals(count, limits["max_model_len"])
            found["traces"].append(compare(Run(engine, known, facts, options.raw), trace, arrivals))
            save()


@dataclass(frozen=True)
class Run:
    """An engine that serves, what is known of it, and the folder where all is kept, if any."""

    engine: Engine
    known: Calibrated
    facts: ModelFacts
    raw: Path | None


def compare(run: Run, trace: Recorded, arrivals: list[Arrival]) -> dict[str, Any]:
    """One trace at each of the loads, which follow from the knee that is predicted."""
    most = capacity(run.known.replica, arrivals)
    curve = [(rate, _latency(run.known, arrivals, rate)) for rate in (most * s for s in SHARES)]
    expected = bend(curve)
    if expected is None:
        raise RuntimeError(f"{trace.name}: no knee below {most:.3g} requests/s")
    _say(f"{trace.name}: knee predicted at {expected:.3g} of at most {most:.3g} requests/s")
    loads = []
    for share in LOADS:
        coming = at_rate(arrivals, share * expected)
        time.sleep(PAUSE_SECONDS)
        run.engine.steps()
        sent = sendings(coming, run.facts.vocab_size, f"{trace.name} {share}")
        records = run.engine.send(sent)
        load = Load(share * expected, measured(records), predicted(run.known.replica, coming))
        name = f"{run.facts.hidden_size}-{trace.name}-{share}"
        _keep(run.raw, name, [coming, records, run.engine.steps()])
        loads.append(load)
        _say(f"  {load.rate:.3g}/s measured {load.measured}\n       predicted {load.predicted}")
    return {
        "name": trace.name,
        "divisor": trace.divisor,
        "requests": len(arrivals),
        "prompt_tokens": fmean(each.prompt_tokens for each in arrivals),
        "output_tokens": fmean(each.output_tokens for each in arrivals),
        "capacity": most,
        "expected_knee": expected,
        "knee": {
            "measured": bend([(load.rate, load.measured.e2e) for load in loads]),
            "predicted": bend([(load.rate, load.predicted.e2e) for load in loads]),
        },
        "loads": [asdict(load) for load in loads],
    }


def _latency(known: Calibrated, arrivals: list[Arrival], rate: float) -> float:
    return predicted(known.replica, at_rate(arrivals, rate)).e2e


def shape() -> Shape:
    """One core, with the catalogue's figures."""
    core = find(CPU)
    if core is None:
        raise RuntimeError("the catalogue lacks cpu")
    return Shape(core, core.name, PRECISION, PRECISION, cpu_cores=1.0)


def reached(shape: Shape) -> dict[str, float | None]:
    """FLOP/s and bytes/s that the calibration says; None for what it does not."""
    core, share = shape.accelerator, shape.accelerator.efficiency
    peaks = {
        "compute": (core.flops(PRECISION), share.compute),
        "bandwidth": (core.bandwidth, share.bandwidth),
        "attention": (core.flops(PRECISION), share.attention),
        "kv_cache": (core.bandwidth, share.kv_cache),
    }
    return {name: of and peak * of for name, (peak, of) in peaks.items()}


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = set(_line(text, "flags").split())
    return {
        "cpu": _line(text, "model name"),
        "family": f"{_line(text, 'cpu family')}/{_line(text, 'model')}",
        "cores": os.cpu_count(),
        "extensions": [
            name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags
        ],
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def _line(text: str, name: str) -> str:
    found = re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.measured", description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--model", default="", help="part of the name of the only model to measure")
    parser.add_argument("--share", type=float, default=1.0, help="of the requests")
    parser.add_argument("--raw", type=Path, help="folder for all that is measured, to look at")
    return parser


def _keep(folder: Path | None, name: str, content: Any) -> None:
    if folder is not None:
        (folder / f"{name}.json").write_text(json.dumps(content, default=asdict), encoding="utf-8")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""`plimsoll simulate`: what the clients of a plan would see, by the engine's own scheduler.

Exit codes: 0 every latency objective holds in the simulation, 3 one does not, 2 bad input.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from plimsoll_operator.commands.inputs import InputError, check_stdin, read_planned
from plimsoll_operator.drawing.latency_plot import latency_plot
from plimsoll_operator.drawing.picture_file import picture_path, write_picture
from plimsoll_operator.reports.plan_report import Report
from plimsoll_operator.reports.simulation_report import Simulated, document, table
from plimsoll_operator.traces.trace_file import TraceError, read_trace
from plimsoll_planner.search.trial import REQUESTS
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.experiment import Experiment
from plimsoll_planner.simulation.load_curve import keeps
from plimsoll_planner.simulation.planned import replica_model
from plimsoll_planner.simulation.random_traffic import RandomTraffic
from plimsoll_planner.simulation.simulator import Routing
from plimsoll_runtime.choices import one_of

KEPT, BAD_INPUT, BROKEN = 0, 2, 3
MOST_REQUESTS = 1_000_000
_EXAMPLES = """\
examples:
  plimsoll simulate -f chat.yaml --inventory inventory.yaml
  plimsoll simulate -f chat.yaml --inventory inventory.yaml --plot load.png
  kustomize build overlays/prod | plimsoll simulate -f - --inventory nodes.yaml
  plimsoll simulate -f chat.yaml --inventory inventory.yaml --trace requests.jsonl --rate 2.5

exit code: 0 every latency objective holds, 3 one does not, 2 the input is not valid
"""


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    options = _parser().parse_args(argv)
    try:
        check_stdin(*options.filename, options.inventory, options.trace or "")
        trace = () if options.trace is None else read_trace(options.trace, sys.stdin).requests
        planned = read_planned(
            options.filename,
            options.inventory,
            options.model_config,
            min(REQUESTS, options.requests),
        )
        simulated = [_simulated(Report.of(each), options, trace) for each in planned]
        if options.plot:
            _plot(simulated, options.plot)
    except (InputError, TraceError) as error:
        for line in str(error).splitlines():
            print(f"plimsoll simulate: {line}", file=sys.stderr)
        return BAD_INPUT
    _print(simulated, options.output)
    kept = all(keeps(each.found, each.experiment.objectives) for each in simulated)
    return KEPT if kept else BROKEN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plimsoll simulate",
        description="Simulate the traffic of LLMDeployments on the replicas planned for them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "-f",
        "--filename",
        action="extend",
        nargs="+",
        required=True,
        metavar="FILE",
        help="files, folders, or - for stdin: LLMDeployments, with the Accelerators and ConfigMaps "
        "that they need; other kinds are skipped",
    )
    add(
        "--inventory",
        required=True,
        metavar="FILE",
        help="nodes as `kubectl get nodes -o yaml` prints them, or a list of "
        "{accelerator, count, nodes}; - for stdin",
    )
    add(
        "--model-config",
        type=Path,
        metavar="DIR",
        help="folder with the model's config.json, instead of reading it from spec.model.source",
    )
    add(
        "--trace",
        metavar="FILE",
        help="requests to replay, in any format that `plimsoll trace` reads, instead of those of "
        "spec.workload: its trace, or random ones with its lengths",
    )
    loads = parser.add_mutually_exclusive_group()
    loads.add_argument(
        "--rate",
        type=_number(1e6),
        metavar="R",
        help="requests per second; a trace is stretched to it (default: the workload's, or the "
        "trace's own)",
    )
    loads.add_argument(
        "--rates",
        type=lambda text: [_number(1e6)(each) for each in text.split(",")],
        metavar="A,B,…",
        help="also draw up latency at these loads, and its knee",
    )
    add("--replicas", type=_whole(1, 1000), metavar="N", help="instead of as many as are planned")
    add(
        "--requests",
        type=_whole(1, MOST_REQUESTS),
        default=2000,
        metavar="N",
        help="how many are measured at each load (default: 2000)",
    )
    add(
        "--gap-cv",
        type=_number(100.0, zero=True),
        default=1.0,
        metavar="CV",
        help="standard deviation over mean of the gaps between random requests: 1 is Poisson, "
        "more is bursty (default: 1)",
    )
    add(
        "--routing",
        type=one_of(Routing),
        choices=list(Routing),
        default=Routing.RANDOM,
        metavar="HOW",
        help="random, as a Service does, or least-loaded, as a gateway may (default: random)",
    )
    add("--seed", type=_whole(0, 2**63), default=0, metavar="N", help="of chance (default: 0)")
    add(
        "--plot",
        type=picture_path,
        metavar="FILE",
        help="draw latency against load, with the objectives and the knee, as FILE.svg or FILE.png",
    )
    add("-o", "--output", choices=("table", "json", "yaml"), default="table")
    return parser


def _number(most: float, *, zero: bool = False) -> Callable[[str], float]:
    """Numbers above 0, or with `zero` from 0, up to `most`."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= most or (value == 0 and not zero):
            asked = "from 0" if zero else "above 0,"
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {asked} up to {most:.0f}")
        return value

    return number


def _whole(least: int, most: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, {least} to {most}")
        return int(text)

    return whole


def _simulated(
    report: Report, options: argparse.Namespace, trace: tuple[Arrival, ...]
) -> Simulated:
    plan, request = report.result.plan, report.request
    if plan is None:
        raise InputError(f"{report.name}: no plan fits: {report.result.binding_constraint}")
    own = request.workload.trace
    experiment = Experiment(
        model=replica_model(plan, request.model, request.accelerators, request.draft),
        replicas=options.replicas or plan.replicas,
        objectives=request.objectives,
        random=RandomTraffic(request.workload, max(0.0, options.gap_cv)),
        trace=trace or (() if own is None else own.arrivals),
        requests=options.requests,
        routing=options.routing,
        seed=options.seed,
    )
    try:
        declared = experiment.declared_rate
        if own is not None and not trace:
            declared = request.workload.requests_per_second
        rate = options.rate or declared
        wants_curve = options.rates or options.plot
        return Simulated(
            report.name,
            plan,
            experiment,
            rate,
            experiment.at(rate),
            experiment.curve(options.rates or ()) if wants_curve else None,
        )
    except ValueError as error:
        raise InputError(f"{report.name}: {error}") from error


def _plot(simulated: list[Simulated], path: Path) -> None:
    if len(simulated) > 1:
        raise InputError(f"--plot draws one deployment, not {len(simulated)}: give a file with one")
    curve = simulated[0].curve
    if curve is None:
        return
    try:
        write_picture(path, latency_plot(simulated[0], curve))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _print(simulated: list[Simulated], output: str) -> None:
    if output == "table":
        print("\n\n".join(table(each) for each in simulated))
        return
    documents = [document(each) for each in simulated]
    if output == "yaml":
        print(yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True), end="")
        return
    content = documents[0] if len(documents) == 1 else documents
    print(json.dumps(content, indent=2, ensure_ascii=False))

"""`plimsoll trace`: recorded traffic as a trace to replay, as the ConfigMap that a `workload`
names, or as figures for one.

Exit codes: 0 written, 2 bad input.
"""

import argparse
import re
import sys
from pathlib import Path

import yaml

from plimsoll_operator.api.formats import CONFIG_MAP_KEY, OBJECT_NAME, Format
from plimsoll_operator.api.quantity import parse_duration
from plimsoll_operator.api.workload import TraceKeyRef
from plimsoll_operator.traces.fields import UNITS
from plimsoll_operator.traces.metrics_snapshot import (
    Snapshot,
    SnapshotError,
    looks_like_metrics,
    parse_snapshot,
    workload_between,
)
from plimsoll_operator.traces.named_trace import named_trace
from plimsoll_operator.traces.trace_file import STDIN, TraceError, read_trace, trace_lines
from plimsoll_operator.traces.trouble import NamedTraceError
from plimsoll_operator.traces.workload_block import burstiness, prefix_share, workload_block
from plimsoll_planner.inputs import Workload
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.trace import fullest, workload_of

WRITTEN, BAD_INPUT = 0, 2
LARGEST_SNAPSHOT = 64 * 2**20
_EXAMPLES = """\
reads, told apart by what is in them:
  JSON lines   t or timestamp, prompt_tokens, output_tokens, prefix_ids, tenant, priority;
               Mooncake's timestamp, input_length, output_length, hash_ids
  access logs  JSON lines with a time and the answer's `usage`; other lines are skipped
  CSV          with a header: Azure's TIMESTAMP, ContextTokens, GeneratedTokens, or the above
  /metrics     of vLLM or Plimsoll, before and after, only as a workload

examples:
  plimsoll trace requests.jsonl -o workload
  plimsoll trace access.log > trace.jsonl
  plimsoll trace access.log --fullest 5000 -o configmap --name chat-trace | kubectl apply -f -
  plimsoll trace before.txt after.txt --interval 10m -o workload

exit code: 0 written, 2 the input is not valid
"""


class InputError(Exception):
    """Bad input, in one line."""


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    options = parser().parse_args(argv)
    try:
        if _is_snapshot(options.files[0]):
            _from_snapshots(options)
        else:
            _from_trace(options)
    except (InputError, TraceError, SnapshotError) as error:
        print(f"plimsoll trace: {error}", file=sys.stderr)
        return BAD_INPUT
    return WRITTEN


def parser() -> argparse.ArgumentParser:
    """The options of `plimsoll trace`."""
    made = argparse.ArgumentParser(
        prog="plimsoll trace",
        description="Turn recorded traffic into a trace, or into the workload block of an "
        "LLMDeployment.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument(
        "files", nargs="+", metavar="FILE", help="a trace or log, - for stdin; or two snapshots"
    )
    made.add_argument(
        "-o",
        "--output",
        choices=("trace", "workload", "configmap"),
        default="trace",
        help="(default: trace)",
    )
    made.add_argument(
        "--fullest",
        type=_count,
        metavar="N",
        help="only the N requests in a row that came in the least time",
    )
    made.add_argument("--name", type=_name, metavar="NAME", help="of the ConfigMap")
    made.add_argument("-n", "--namespace", type=_name, metavar="NAME", help="of the ConfigMap")
    made.add_argument(
        "--key",
        type=_key,
        default=TraceKeyRef.model_fields["key"].default,
        metavar="KEY",
        help="in the ConfigMap (default: trace.jsonl)",
    )
    made.add_argument(
        "--time-unit",
        choices=tuple(UNITS),
        help="of times that are numbers (default: told by their size)",
    )
    made.add_argument(
        "--interval",
        metavar="DURATION",
        help="time between two snapshots of /metrics, or from the engine's start to the only one, "
        "such as 10m",
    )
    return made


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 2 on")
    return int(text)


def _name(text: str) -> str:
    return _of_format(OBJECT_NAME, text)


def _key(text: str) -> str:
    return _of_format(CONFIG_MAP_KEY, text)


def _of_format(wanted: Format, text: str) -> str:
    if len(text) > wanted.max_length or not re.fullmatch(wanted.pattern, text):
        raise argparse.ArgumentTypeError(f"{text!r}: {wanted.message}")
    return text


def _is_snapshot(source: str) -> bool:
    if source == STDIN:
        return False
    try:
        with Path(source).open("rb") as file:
            return looks_like_metrics(file.read(64).decode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}") from error


def _from_trace(options: argparse.Namespace) -> None:
    if len(options.files) > 1:
        raise InputError(f"{len(options.files)} traces: give one at a time")
    source = options.files[0]
    trace = read_trace(source, sys.stdin, options.time_unit)
    if trace.skipped:
        noun = "record" if trace.skipped == 1 else "records"
        print(
            f"plimsoll trace: {source}: {trace.skipped} {noun} without the tokens of an answer "
            "skipped",
            file=sys.stderr,
        )
    requests = trace.requests
    if options.fullest is not None:
        requests = fullest(requests, options.fullest)
    if options.output == "trace":
        for line in trace_lines(requests):
            print(line)
        return
    if options.output == "configmap":
        _print_config_map(requests, options)
        return
    try:
        workload = workload_of(requests)
    except ValueError as error:
        raise InputError(f"{source}: {error}") from error
    notes = [f"{len(requests)} requests; {burstiness(requests)}"]
    share = prefix_share(requests)
    if share is not None:
        notes.append(f"{share:.1%} of prompt tokens are in blocks that came before")
    _print_workload(workload, notes)


def _from_snapshots(options: argparse.Namespace) -> None:
    if options.output != "workload":
        raise InputError(
            "snapshots of /metrics hold no single requests: only -o workload can be made of them"
        )
    if len(options.files) > 2:
        raise InputError(f"{len(options.files)} snapshots: give one, or one before and one after")
    if options.interval is None:
        raise InputError(
            "--interval DURATION is missing: the time between the snapshots, such as 10m"
        )
    try:
        seconds = parse_duration(options.interval)
    except ValueError as error:
        raise InputError(f"--interval: {error}") from error
    snapshots = [_snapshot(source) for source in options.files]
    earlier = snapshots[0] if len(snapshots) > 1 else None
    workload = workload_between(earlier, snapshots[-1], seconds)
    count = round(workload.requests_per_second * seconds)
    _print_workload(workload, [f"{count} requests that ended in {options.interval}"])


def _snapshot(source: str) -> Snapshot:
    try:
        with Path(source).open(encoding="utf-8") as file:
            text = file.read(LARGEST_SNAPSHOT + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"{source}: cannot be read: {reason}") from error
    if len(text) > LARGEST_SNAPSHOT:
        raise InputError(f"{source}: more than {LARGEST_SNAPSHOT} characters")
    try:
        return parse_snapshot(text)
    except SnapshotError as error:
        raise InputError(f"{source}: {error}") from error


def _print_config_map(requests: tuple[Arrival, ...], options: argparse.Namespace) -> None:
    if options.name is None:
        raise InputError("--name NAME is missing: what the ConfigMap is to be called")
    text = "".join(f"{line}\n" for line in trace_lines(requests))
    reference = TraceKeyRef(name=options.name, key=options.key)
    try:
        named_trace({options.key: text}, reference, options.namespace or "")
    except NamedTraceError as error:
        raise InputError(str(error)) from error
    metadata = {"name": options.name}
    if options.namespace is not None:
        metadata["namespace"] = options.namespace
    head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    print(yaml.safe_dump(head, sort_keys=False), end="")
    print(f"data:\n  {options.key}: |")
    for line in text.splitlines():
        print(f"    {line}")


def _print_workload(workload: Workload, notes: list[str]) -> None:
    for note in notes:
        print(f"# {note}")
    block = {"workload": workload_block(workload)}
    print(yaml.safe_dump(block, sort_keys=False, default_flow_style=None), end="")

"""`plimsoll trace`: recorded traffic as a trace to replay, or as a `workload` block to plan for.

Exit codes: 0 written, 2 bad input.
"""

import argparse
import sys
from pathlib import Path

import yaml

from plimsoll_operator.api.quantity import parse_duration
from plimsoll_operator.traces.fields import UNITS
from plimsoll_operator.traces.metrics_snapshot import (
    Snapshot,
    SnapshotError,
    looks_like_metrics,
    parse_snapshot,
    workload_between,
)
from plimsoll_operator.traces.trace_file import STDIN, TraceError, read_trace, trace_lines
from plimsoll_operator.traces.workload_block import burstiness, prefix_share, workload_block
from plimsoll_planner.inputs import Workload
from plimsoll_planner.simulation.trace import workload_of

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
        "-o", "--output", choices=("trace", "workload"), default="trace", help="(default: trace)"
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
    if options.output == "trace":
        for line in trace_lines(trace.requests):
            print(line)
        return
    try:
        workload = workload_of(trace.requests)
    except ValueError as error:
        raise InputError(f"{source}: {error}") from error
    notes = [f"{len(trace.requests)} requests; {burstiness(trace.requests)}"]
    share = prefix_share(trace.requests)
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


def _print_workload(workload: Workload, notes: list[str]) -> None:
    for note in notes:
        print(f"# {note}")
    block = {"workload": workload_block(workload)}
    print(yaml.safe_dump(block, sort_keys=False, default_flow_style=None), end="")

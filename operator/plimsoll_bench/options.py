"""The options of `plimsoll bench`."""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plimsoll_bench.load import Arrivals
from plimsoll_bench.token_ids import TokenRange
from plimsoll_bench.workloads import DESCRIPTION
from plimsoll_operator.api.quantity import parse_duration
from plimsoll_operator.drawing.picture_file import picture_path

_WORKLOADS = "\n".join(f"  {name}   {text}" for name, text in DESCRIPTION.items())
_EXAMPLES = f"""\
workloads:
{_WORKLOADS}

examples:
  plimsoll bench http://127.0.0.1:8000 --workload W1,W3 --save ours.json
  plimsoll bench http://127.0.0.1:8000 --trace azure.jsonl --scale 0.5 --ttft 500ms --tpot 50ms
  plimsoll bench http://127.0.0.1:8000 --workload W5 --ramp --plot load.svg
  plimsoll bench compare ours.json theirs.json

exit code: 0 all requests were answered, 1 some failed, 2 bad input, or the server cannot be asked
"""
_COMPARE = "exit code: 0 compared, 2 bad input, 3 not the same work, 4 answers differ (if asked)"


def parser() -> argparse.ArgumentParser:
    """`plimsoll bench URL`."""
    made = argparse.ArgumentParser(
        prog="plimsoll bench",
        description="Drive an OpenAI-compatible server and say how it did.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("url", metavar="URL", help="where it serves; or `compare`, see there")
    _add_work(made)
    _add_server(made)
    _add_output(made)
    return made


def compare_parser() -> argparse.ArgumentParser:
    """`plimsoll bench compare`."""
    made = argparse.ArgumentParser(
        prog="plimsoll bench compare",
        description="Results side by side: medians, and ratios to the first.",
        epilog=_COMPARE,
        allow_abbrev=False,
    )
    made.add_argument("files", nargs="+", type=Path, metavar="FILE", help="of --save")
    made.add_argument(
        "--equal-answers", action="store_true", help="fail unless all answers are the same"
    )
    made.add_argument("-o", "--output", choices=("table", "json"), default="table")
    return made


def _add_work(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("work")
    what = group.add_mutually_exclusive_group()
    what.add_argument(
        "--workload",
        default="W1,W2,W3,W4",
        metavar="A,B,…",
        help="see below (default: W1,W2,W3,W4)",
    )
    what.add_argument(
        "--trace", metavar="FILE", help="requests in any format that `plimsoll trace` reads"
    )
    group.add_argument("--repetitions", type=whole(1, 1000), default=3, metavar="N")
    group.add_argument(
        "--arrivals",
        choices=[each.value for each in Arrivals if each is not Arrivals.AT_ONCE],
        help="poisson at --rate, closed with --concurrency, or a trace's times (default: the "
        "work's own)",
    )
    group.add_argument("--rate", type=number(0.0, 1e6), metavar="R", help="requests per second")
    group.add_argument(
        "--scale", type=number(0.0, 1e6), metavar="X", help="times the trace's own rate"
    )
    group.add_argument(
        "--concurrency", type=whole(1, 8192), metavar="N", help="requests at once, for closed"
    )
    group.add_argument("--requests", type=whole(1, 5_000_000), metavar="N", help="the first N")
    group.add_argument(
        "--ramp", action="store_true", help="raise the rate of W5 or a trace to the knee"
    )
    group.add_argument(
        "--shorten", type=whole(1, 4096), default=1, metavar="N", help="divide a trace's lengths"
    )
    group.add_argument(
        "--max-model-len", type=whole(2, 10**8), metavar="N", help="cut a trace to this context"
    )
    group.add_argument(
        "--token-ids",
        type=token_range,
        default=TokenRange(),
        metavar="LOW:HIGH",
        help="that prompts are made of (default: 300:16300)",
    )
    group.add_argument("--ttft", type=duration, metavar="DURATION", help="objective, for goodput")
    group.add_argument("--tpot", type=duration, metavar="DURATION", help="objective, for goodput")


def _add_server(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("server")
    group.add_argument("--model", help="(default: the first that it lists)")
    group.add_argument("--api-key", help="(default: $OPENAI_API_KEY)")
    group.add_argument(
        "--cacert",
        type=Path,
        metavar="FILE",
        help="certificates (PEM) to trust over https (default: the system's)",
    )
    group.add_argument("--api", choices=("completions", "chat"), default="completions")
    group.add_argument(
        "--prompts",
        choices=("ids", "text"),
        help="(default: ids, and text where the server takes none)",
    )
    group.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="of prompts as text: has tokenizer.json"
    )
    group.add_argument(
        "--extra", type=json_object, default={}, metavar="JSON", help="goes into every request"
    )
    group.add_argument(
        "--timeout", type=duration, default=900.0, help="of a request (default: 15m)"
    )
    group.add_argument(
        "--server-pid",
        type=whole(1, 2**31),
        metavar="PID",
        help="whose CPU time is the server's (default: who listens there, on this machine)",
    )
    group.add_argument(
        "--wait-idle",
        type=duration,
        default=0.0,
        metavar="DURATION",
        help="wait so long before each run for other work to leave the cores (default: 0s)",
    )


def _add_output(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("output")
    group.add_argument("--label", help="what the server is called (default: the model)")
    group.add_argument("-o", "--output", choices=("table", "json"), default="table")
    group.add_argument("--save", type=Path, metavar="FILE", help="JSON, written after each run")
    group.add_argument("--plot", type=picture_path, metavar="FILE.svg|FILE.png")


def whole(least: int, most: int) -> Callable[[str], int]:
    """An argument's type."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, {least} to {most}")
        return int(text)

    return parse


def number(above: float, most: float) -> Callable[[str], float]:
    """An argument's type."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not above < value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number above {above:g}")
        return value

    return parse


def duration(text: str) -> float:
    """An argument's type."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def token_range(text: str) -> TokenRange:
    """An argument's type."""
    low, _, high = text.partition(":")
    if not (low.isascii() and low.isdigit() and high.isascii() and high.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r}: write LOW:HIGH, such as 300:16300")
    if not int(low) < int(high) <= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r}: the first must be below the second")
    return TokenRange(int(low), int(high))


def json_object(text: str) -> dict[str, Any]:
    """An argument's type."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError("not a JSON object")
    return found

"""`python -m e2e.day`: a recorded day in a few hours, on a real cluster, while engine pods and the
operator are killed and people edit. See `--help`.

Exit code 0 when nothing was wrong, 1 when something was, 130 when interrupted; FILE is written in
all of these.
"""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from e2e.day.result import Result, result, write
from e2e.day.run import Day, Place, run
from e2e.support import install

NAMESPACE = "plimsoll-day"
INTERRUPTED = 130


def main(argv: list[str]) -> int:
    """Runs it."""
    given = _options(argv)
    if not given.out.parent.is_dir():
        raise SystemExit(f"--out {given.out}: there is no folder {given.out.parent}")
    os.environ.setdefault("PLIMSOLL_CLUSTER", "day")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Not at once: what was seen is still to be read and written.
        signal.signal(number, lambda *_: stop.set())
    was_up = install.is_up()
    cluster = install.cluster()
    try:
        images = install.images(cluster)
        system = install.operator(cluster, images)
        system.run("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout=180)
        kubectl = install.namespace(system, NAMESPACE)
        day = Day(given.hours, given.peak, given.gap, given.seed)
        try:
            seen = run(day, Place(system, kubectl, images.runtime), stop, say)
            found = result(seen)
            write(found, seen.requests, given.out)
        finally:
            system.run("delete", "namespace", NAMESPACE, "--wait=false", check=False)
    finally:
        if cluster.is_ours and not was_up:
            install.harness("down")
    _tell(found)
    say(f"written to {given.out}")
    if not seen.complete and stop.is_set():
        return INTERRUPTED
    return int(bool(found.wrong))


def say(text: str) -> None:
    print(text, flush=True)


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e.day", description=__doc__)
    add = parser.add_argument
    add("--hours", type=float, default=2.0, help="that the day takes (%(default)g)")
    add("--out", type=Path, default=Path("day.json"), help="what was found (%(default)s)")
    add("--peak", type=float, default=3.6, help="requests a second at most (%(default)g)")
    add("--gap", type=float, default=120.0, help="seconds from event to event (%(default)g)")
    add("--seed", type=int, default=1, help="of requests and events (%(default)s)")
    given = parser.parse_args(argv)
    for name, least, most in (("hours", 0.05, 48), ("peak", 0.1, 100), ("gap", 20, 3600)):
        if not least <= getattr(given, name) <= most:
            parser.error(f"--{name} must be from {least:g} to {most:g}")
    return given


def _tell(found: Result) -> None:
    totals = found.totals
    share = totals.kept / totals.requests if totals.requests else 0.0
    say(
        f"{totals.requests} requests in {found.seconds:.0f} s: {share:.2%} kept the objectives, "
        f"{totals.failed} failed, {totals.on_killed_pods} of them on killed pods"
    )
    say(
        f"TTFT p50 {totals.ttft_p50} s, p95 {totals.ttft_p95} s; TPOT p50 {totals.tpot_p50} s, "
        f"p95 {totals.tpot_p95} s; sent late p99 {totals.lag_p99} s"
    )
    say(
        f"replica seconds: {totals.replica_seconds:.0f}; the plan's count all day "
        f"{totals.planned_seconds:.0f}, the peak's {totals.static_seconds:.0f}"
    )
    for wrong in found.wrong:
        say(f"WRONG: {wrong}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

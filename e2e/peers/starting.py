"""Starts of our engine: time, CPU time and page faults until the first answer, and memory.

`python -m e2e.peers.starting --models 0.5b --rounds 5`
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

from e2e.peers.engine import Engine, Size
from e2e.peers.models import MODELS
from e2e.peers.ours import engines
from e2e.peers.serving import Server, end_on_sigterm, family, free_port, resident
from plimsoll_bench.report import seconds
from plimsoll_planner.text import gibibytes

SETTLED_BYTES = 4 << 20
"""Memory grows by less in a second once the KV cache's is taken."""


@dataclass(frozen=True)
class Effort:
    """Of a process and its children so far: seconds of CPU time in programs and in the kernel, and
    pages that were not there when they were used, without reading a disk."""

    user: float
    system: float
    faults: int


def effort(root: int) -> Effort:
    """By /proc/PID/stat; of processes that are there still."""
    ticks = os.sysconf("SC_CLK_TCK")
    stats = (Path(f"/proc/{process}/stat").read_text(encoding="utf-8") for process in family(root))
    # Behind the program's name, which may hold spaces; of proc(5) the fields 10, 14 and 15.
    fields = [stat.rpartition(")")[2].split() for stat in stats]
    faults, user, system = (sum(int(each[at]) for each in fields) for at in (7, 11, 12))
    return Effort(user / ticks, system / ticks, faults)


def row(model: str, engine: Engine) -> str:
    """Of the table: when it has answered, and when it has all its memory."""
    port = free_port()
    with Server(engine.start(MODELS[model], port, Size()), port) as server:
        took = effort(server.process)
        told = f"{seconds(server.ready_seconds)} | {took.user:.1f} s, {took.system:.1f} s"
        told += f" | {took.faults} | {gibibytes(server.peak_bytes)}"
        before = 0
        while (now := resident(server.process)) - before > SETTLED_BYTES:
            before = now
            time.sleep(1)
        return f"| {model} | {engine.name} | {told} | {gibibytes(now)} |"


def main() -> None:
    """Prints a table."""
    options = argparse.ArgumentParser(prog="python -m e2e.peers.starting", description=__doc__)
    options.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    end_on_sigterm()
    print("| model | engine | first token | CPU, kernel | faults | most until then | then |")
    print("|---" * 7 + "|")
    for _ in range(chosen.rounds):
        for model in chosen.models:
            for engine in engines():
                print(row(model, engine), flush=True)


if __name__ == "__main__":
    main()

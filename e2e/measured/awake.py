"""Keeps cores from falling asleep while they are measured.

A core of a virtual machine that has nothing to do is given back to the host, and the first step
after a pause then takes up to a millisecond longer: more than a whole step of a small model, and
more or less of it from one minute to the next. A loop that gives way to everybody keeps it, as
`idle=poll` does on a machine of one's own.
"""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

LOWEST = 19


@contextmanager
def awake(cores: Iterable[int]) -> Iterator[None]:
    """A loop on each core, from `with` to its end."""
    with ExitStack() as loops:
        for core in cores:
            loop = subprocess.Popen(
                [sys.executable, "-m", "e2e.measured.awake", str(core)], start_new_session=True
            )
            loops.callback(loop.wait)
            loops.callback(loop.kill)
        yield


def spin(core: int) -> None:
    """Never returns. Linux only."""
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    # Where each session has its share of a core, that of this one must be small, too.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(LOWEST), encoding="utf-8")
    while True:
        pass


if __name__ == "__main__":
    spin(int(sys.argv[1]))

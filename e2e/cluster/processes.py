"""Processes of a cluster: run, wait, and end by pid, never by name.

A pid alone may be reused by a stranger after a reboot or a crash. A pid file
therefore holds `PID START BOOT`, where START is the process's start time in
clock ticks since boot (field 22 of /proc/PID/stat, see proc(5)) and BOOT the
kernel's random boot id.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from e2e.cluster.progress import say

# A command line before its words become text.
Command = list[str | Path]


class ClusterError(RuntimeError):
    """A step of the harness failed; the message says what to look at."""


def run(argv: Sequence[str | Path], *, timeout: float = 600, stdin: str | None = None) -> str:
    """Run a command to its end and return what it wrote to standard output.

    Raises ClusterError with the command and the end of its errors when it fails.
    """
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
    except (FileNotFoundError, PermissionError) as error:
        raise ClusterError(f"{command[0]} is not installed: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"no end after {timeout:.0f} s: {' '.join(command)}") from error
    if done.returncode != 0:
        raise ClusterError(
            f"exit status {done.returncode}: {' '.join(command)}\n"
            f"{(done.stderr or done.stdout).strip()[-2000:]}"
        )
    return done.stdout


def wait_for(what: str, check: Callable[[], bool], seconds: float) -> None:
    """Poll `check` until it holds. Raises ClusterError naming `what` after `seconds`."""
    end = time.monotonic() + seconds
    pause = 0.05
    while not check():
        if time.monotonic() > end:
            raise ClusterError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)


def start_time(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot, or None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the program's name in parentheses and may hold spaces.
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in ("Z", "X") else fields[19]


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def write_pid_file(path: Path, pid: int) -> None:
    path.write_text(f"{pid} {start_time(pid)} {boot_id()}\n")


def read_pid_file(path: Path) -> int | None:
    """The pid in the file if that very process still runs, else None."""
    try:
        pid, started, boot = path.read_text().split()
    except (OSError, ValueError):
        return None
    if boot != boot_id() or start_time(int(pid)) != started:
        return None
    return int(pid)


def end(pid: int, *, patience: float = 10) -> None:
    """Terminate a process, kill it after `patience` seconds, and wait until it is gone."""
    started = start_time(pid)
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
        if started is None or start_time(pid) != started:
            return
        os.kill(pid, number)
        limit = time.monotonic() + seconds
        while start_time(pid) == started and time.monotonic() < limit:
            time.sleep(0.02)
    if start_time(pid) == started:
        say(f"process {pid} does not end; it may wait for a device or a file system")

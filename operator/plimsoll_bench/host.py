"""What /proc tells of this machine, where there is one."""

import os
import time
from pathlib import Path

from plimsoll_bench.host_use import Ticks, use_between

PROC = Path("/proc")
IDLE_BUSY = 0.15
"""The share of all cores that may be busy on a machine that counts as idle."""
EXTENSIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
"""Of a processor's instructions those that decide how fast models run on it."""
_LISTEN = "0A"


def ticks(server: int | None = None) -> Ticks | None:
    """Now. `server` is the process whose children count with it. None without /proc/stat."""
    try:
        line = (PROC / "stat").read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return None
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, line.split()[1:9])
    busy = user + nice + system + irq + softirq
    used = os.times()
    own = (used.user + used.system) * os.sysconf("SC_CLK_TCK")
    return Ticks(
        busy, steal, busy + idle + iowait + steal, None if server is None else _tree(server), own
    )


def wait_until_idle(most: float) -> None:
    """Waits at most so many seconds until a second passes in which the cores had little to do."""
    deadline = time.monotonic() + most
    while time.monotonic() < deadline:
        before = ticks()
        time.sleep(1.0)
        use = use_between(before, ticks())
        if use is None or use.busy + use.steal < IDLE_BUSY:
            return


def listening_process(port: int) -> int | None:
    """The process on this machine that listens on a TCP port, as far as we may see it."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    found = []
    for folder in PROC.glob("[0-9]*/fd") if wanted else ():
        try:
            if any(os.readlink(each) in wanted for each in folder.iterdir()):
                found.append(int(folder.parent.name))
        except OSError:
            continue
    # A child that inherited the socket has the larger number.
    return min(found, default=None)


def _inodes(port: int) -> set[str]:
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = (PROC / "net" / name).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def _tree(root: int) -> int:
    """Ticks of a process and all below it, of those too that have ended and were waited for."""
    parents: dict[int, list[int]] = {}
    used: dict[int, int] = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        process = int(folder.name)
        parents.setdefault(int(fields[1]), []).append(process)
        used[process] = sum(map(int, fields[11:15]))
    found, left = 0, [root]
    while left:
        process = left.pop()
        found += used.get(process, 0)
        left += parents.get(process, [])
    return found


def machine() -> dict[str, str]:
    """What figures measured here depend on, as far as it can be told."""
    found = {"cores": str(len(os.sched_getaffinity(0))), "kernel": os.uname().release}
    try:
        lines = (PROC / "cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    told = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    if name := told.get("model name"):
        found["cpu"] = name
    flags = told.get("flags", "").split()
    return found | {"extensions": ", ".join(name for name in EXTENSIONS if name in flags)}

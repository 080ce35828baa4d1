"""How much CPU and memory this process may use: the machine's, or its container's if less."""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
PROC = Path("/proc")


def cpu_limit(root: Path = CGROUP_ROOT, proc: Path = PROC) -> int:
    """Whole CPUs for this process, at least 1: the affinity mask, or less by a cgroup's quota.

    Threads beyond the quota would spin for each other while the kernel holds them back.
    """
    cpus = float(len(os.sched_getaffinity(0)))
    for folder in _folders(root, proc, "cpu"):
        v2 = _words(folder / "cpu.max")
        if len(v2) == 2 and v2[0].isdigit():
            cpus = min(cpus, int(v2[0]) / int(v2[1]))
        quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
        if quota and period and int(quota[0]) > 0:
            cpus = min(cpus, int(quota[0]) / int(period[0]))
    return max(1, int(cpus))


def free_memory(root: Path = CGROUP_ROOT, proc: Path = PROC) -> int:
    """Bytes that can still be allocated: the machine's available memory, or less by a cgroup.

    Page cache counts as free, in a cgroup too: the kernel gives it back under pressure.
    """
    meminfo = dict(
        line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines() if ":" in line
    )
    free = int(meminfo["MemAvailable"].split()[0]) * 1024
    for folder in _folders(root, proc, "memory"):
        for limit_name, usage_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, usage = _words(folder / limit_name), _words(folder / usage_name)
            if limit and usage and limit[0].isdigit():
                used = int(usage[0]) - _page_cache(folder)
                free = min(free, max(0, int(limit[0]) - used))
    return free


def _folders(root: Path, proc: Path, controller: str) -> Iterator[Path]:
    """This process's cgroup and its ancestors, for cgroup v2 and for v1's `controller`.

    In a container that sees only its own part of the tree, the path leads nowhere and the root
    is the container's.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controller if controllers else root
        folder = base / path.strip("/")
        yield folder
        while folder != base:
            folder = folder.parent
            yield folder


def _page_cache(folder: Path) -> int:
    """Bytes of file pages, by cgroup v2's or v1's names; 0 when not told.

    Active ones too: a checkpoint that was read more than once is among them.
    """
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    stat = dict(line.split(" ", 1) for line in lines if " " in line)
    kinds = ("inactive_file", "active_file")
    return sum(int(stat.get(f"total_{kind}", stat.get(kind, "0"))) for kind in kinds)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []

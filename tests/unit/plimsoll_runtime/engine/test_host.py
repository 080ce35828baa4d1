"""Limits of a container are read from cgroup v1 and v2, wherever its cgroup is mounted."""

import os
from pathlib import Path

import pytest

from plimsoll_runtime.engine.host import cpu_limit, free_memory

GIB = 2**30


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    available = f"MemTotal: {64 * GIB // 1024} kB\nMemAvailable: {32 * GIB // 1024} kB\n"
    (folder / "meminfo").write_text(available)
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    return tmp_path / "cgroup"


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def test_without_cgroups_the_machine_is_the_limit(root: Path, proc: Path) -> None:
    assert cpu_limit(root, proc) == 16
    assert free_memory(root, proc) == 32 * GIB


def test_v2_in_a_container(root: Path, proc: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/\n")
    write(
        root,
        cpu__max="250000 100000",
        memory__max=str(8 * GIB),
        memory__current=str(5 * GIB),
        memory__stat=f"anon {3 * GIB}\ninactive_file {GIB}\nactive_file {GIB}",
    )
    assert cpu_limit(root, proc) == 2
    assert free_memory(root, proc) == 5 * GIB


def test_v2_the_tightest_ancestor_wins(root: Path, proc: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/pod/container\n")
    write(root / "pod", cpu__max="300000 100000", memory__max=str(4 * GIB), memory__current="0")
    write(root / "pod/container", cpu__max="max 100000", memory__max="max", memory__current="0")
    assert cpu_limit(root, proc) == 3
    assert free_memory(root, proc) == 4 * GIB


def test_v1_has_a_tree_for_each_controller(root: Path, proc: Path) -> None:
    (proc / "self" / "cgroup").write_text("4:memory:/box\n1:cpu,cpuacct:/box\n0::/\n")
    write(root / "cpu" / "box", cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    write(
        root / "memory" / "box",
        memory__limit_in_bytes=str(2 * GIB),
        memory__usage_in_bytes=str(GIB),
        memory__stat=f"cache 5\ntotal_inactive_file {GIB // 4}\n"
        f"active_file 7\ntotal_active_file {GIB // 4}",
    )
    assert cpu_limit(root, proc) == 1
    assert free_memory(root, proc) == 2 * GIB - GIB // 2


def test_no_quota_is_no_limit(root: Path, proc: Path) -> None:
    (proc / "self" / "cgroup").write_text("1:cpu:/\n4:memory:/\n")
    write(root / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    write(root / "memory", memory__limit_in_bytes=str(2**63 - 4096), memory__usage_in_bytes="7")
    assert cpu_limit(root, proc) == 16
    assert free_memory(root, proc) == 32 * GIB


def test_a_full_container_has_nothing_left(root: Path, proc: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/\n")
    write(root, memory__max=str(GIB), memory__current=str(2 * GIB))
    assert free_memory(root, proc) == 0


def test_this_machine_can_be_read() -> None:
    assert cpu_limit() >= 1
    assert free_memory() > 0

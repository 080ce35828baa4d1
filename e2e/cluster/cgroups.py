"""The cgroup that all pods of a cluster live under, with version 1 and 2."""

import contextlib
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def hierarchies() -> list[Path]:
    """Mount points: the one of version 2, or one per controller of version 1."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return sorted(path for path in ROOT.iterdir() if path.is_dir() and not path.is_symlink())


def create(name: str) -> None:
    """Create the cgroup in every hierarchy; kubelet demands that its root exists."""
    for hierarchy in hierarchies():
        folder = hierarchy / name
        folder.mkdir(exist_ok=True)
        # A new cpuset of version 1 is empty, and an empty one admits no process.
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / file).exists() and not (ROOT / "cgroup.controllers").exists():
                (folder / file).write_text((hierarchy / file).read_text())
        available = hierarchy / "cgroup.controllers"
        if available.exists():
            enable = " ".join(f"+{controller}" for controller in available.read_text().split())
            (hierarchy / "cgroup.subtree_control").write_text(enable)
            (folder / "cgroup.subtree_control").write_text(enable)


def present(name: str) -> list[Path]:
    """Folders of the cgroup that exist, one per hierarchy."""
    return [hierarchy / name for hierarchy in hierarchies() if (hierarchy / name).is_dir()]


def remove(name: str, *, seconds: float = 10) -> list[Path]:
    """Remove the cgroup and all below it; returns what the kernel would not let go.

    A killed process leaves its cgroup a little after it is gone, hence `seconds`.
    """
    end = time.monotonic() + seconds
    while left := present(name):
        for top in left:
            below = sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True)
            for folder in [*below, top]:
                with contextlib.suppress(OSError):  # busy: tried again, or returned
                    folder.rmdir()
        if time.monotonic() > end:
            break
        time.sleep(0.02)
    return present(name)

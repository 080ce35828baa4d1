"""What is left of a cluster on the machine, which after `down` should be nothing.

Why there should be nothing: processes, mounts, interfaces, routes and iptables
rules live in the cluster's own namespaces and end with them (see `namespaces`).
Outside are only two routes to nowhere, one cgroup, and the state folder, which
`down` removes one by one. This looks for all of it all the same.
"""

import os
import re
from ipaddress import IPv4Address
from pathlib import Path

from e2e.cluster import cgroups
from e2e.cluster.network import closed_ranges
from e2e.cluster.processes import run
from e2e.cluster.settings import Settings


def residue(settings: Settings) -> list[str]:
    """What is left of the cluster on the machine: one line each, empty when nothing is."""
    left = [f"cgroup {path}" for path in cgroups.present(settings.cgroup)]
    left += [f"route blackhole {closed}" for closed in closed_ranges(settings)]
    left += processes(settings)
    left += mounts(settings, Path("/proc/self/mounts").read_text())
    left += addresses(settings, run(["iptables-save"]), "iptables rule")
    left += addresses(settings, run(["ip", "-oneline", "-4", "addr", "show"]), "interface")
    if settings.state.exists():
        left.append(f"folder {settings.state}")
    return left


def processes(settings: Settings) -> list[str]:
    """Processes whose command line names a folder of the cluster."""
    left = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile
            continue
        line = os.fsdecode(b" ".join(words))
        if any(f"{folder_}/" in line for folder_ in (settings.state, settings.containerd_root)):
            left.append(f"process {folder.name}: {line[:120]}")
    return left


def mounts(settings: Settings, table: str) -> list[str]:
    """Mounts in or from a folder of the cluster, from the text of /proc/mounts."""
    folders = (f"{settings.state}/", f"{settings.containerd_root}/")
    return [
        f"mount {line.split()[1]}"
        for line in table.splitlines()
        if any(folder in line for folder in folders)
    ]


def addresses(settings: Settings, listing: str, what: str) -> list[str]:
    """Lines of a listing that name an address of the cluster's ranges."""
    left = []
    for line in listing.splitlines():
        for found in re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", line):
            try:
                address = IPv4Address(found)
            except ValueError:
                continue
            if address in settings.pod_range or address in settings.held_range:
                left.append(f"{what} {line.strip()}")
                break
    return left

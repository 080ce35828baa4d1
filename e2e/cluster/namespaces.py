"""A cluster's own network, mount and process namespaces.

Everything a cluster runs lives in them. Process 1 there is `pause`; when it
is killed the kernel ends every process inside, and with the last of them go
all mounts, interfaces, routes and iptables rules. Nothing of it was ever
visible to the machine's own namespaces, so `down` cannot leave any behind and
two clusters cannot meet.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster.processes import (
    ClusterError,
    read_pid_file,
    run,
    start_time,
    wait_for,
    write_pid_file,
)
from e2e.cluster.settings import Settings

# What kubelet writes to the kernel's settings unless it finds it there. It finds
# it in files that cover the real ones, so that the machine's settings stay.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}

ENTRY = """
set -e
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/netns
if [ -d /var/lib/cni ]; then mount -t tmpfs -o mode=700 tmpfs /var/lib/cni; fi
mount --bind "$STATE/var-log" /var/log
cd "$STATE/sysctl"
find . -type f | while read -r file; do
  if [ -e "/proc/sys/$file" ]; then mount --bind "$file" "/proc/sys/$file"; fi
done
cd /
touch "$STATE/entered"
exec "$PAUSE"
"""


def holder(settings: Settings) -> int | None:
    """Pid of the cluster's process 1 as the machine sees it, or None when it is not up."""
    return read_pid_file(settings.state / "holder.pid")


def create(settings: Settings, pause: Path) -> None:
    """Make the namespaces and start process 1 in them."""
    (settings.state / "var-log").mkdir(parents=True, exist_ok=True)
    for name, value in KERNEL_SETTINGS.items():
        file = settings.state / "sysctl" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    entered = settings.state / "entered"
    settings.logs.mkdir(parents=True, exist_ok=True)
    with (settings.logs / "namespaces.log").open("ab") as log:
        parent = subprocess.Popen(
            [
                *("unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child"),
                *("--propagation", "slave", "--mount-proc", "sh", "-c", ENTRY),
            ],
            env={**os.environ, "STATE": str(settings.state), "PAUSE": str(pause)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    write_pid_file(settings.state / "unshare.pid", parent.pid)
    wait_for(
        f"the cluster's namespaces (see {settings.logs}/namespaces.log)", entered.exists, seconds=20
    )
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    if len(children) != 1:
        raise ClusterError(f"unshare has children {children} where one was expected")
    write_pid_file(settings.state / "holder.pid", int(children[0]))


def destroy(settings: Settings) -> None:
    """Kill process 1, and with it all that runs inside; wait until all of it is gone."""
    started_by_us = {
        name: (pid, start_time(pid))
        for name in (path.stem for path in settings.state.glob("*.pid"))
        if (pid := read_pid_file(settings.state / f"{name}.pid")) is not None
    }
    for name in ("holder", "unshare"):
        if name in started_by_us:
            _end(*started_by_us[name], signal.SIGKILL)
    # The wrappers around the programs are outside; each ends a moment after its own.
    for pid, started in started_by_us.values():
        _end(pid, started, None)


def _end(pid: int, started: str | None, by: signal.Signals | None) -> None:
    """Send a signal, if one is given, and wait until the process is gone."""
    if by is not None and start_time(pid) == started:
        os.kill(pid, by)
    wait_for(f"the end of process {pid}", lambda: start_time(pid) != started, 30)


def inside(settings: Settings, argv: Sequence[str | Path]) -> list[str]:
    """The command line that runs `argv` inside. Raises ClusterError when the cluster is not up."""
    pid = holder(settings)
    if pid is None:
        raise ClusterError(
            f"cluster {settings.name} is not up: python -m e2e.cluster up --name {settings.name}"
        )
    entry = ["nsenter", "--target", str(pid), "--mount", "--net", "--pid", "--ipc", "--"]
    return [*entry, *(str(word) for word in argv)]


def run_inside(
    settings: Settings,
    argv: Sequence[str | Path],
    *,
    timeout: float = 600,
    stdin: str | None = None,
) -> str:
    """`processes.run` inside the namespaces."""
    return run(inside(settings, argv), timeout=timeout, stdin=stdin)


def start_inside(
    settings: Settings, name: str, argv: Sequence[str | Path], *, sockets: Sequence[int] = ()
) -> None:
    """Start a lasting process inside, logging to `logs/NAME.log`, with the descriptors `sockets`.

    It needs no pid file of its own to be ended: it ends with process 1.
    """
    with (settings.logs / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            inside(settings, argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=sockets,
            cwd="/",
        )
    write_pid_file(settings.state / f"{name}.pid", process.pid)


def alive(settings: Settings, name: str) -> bool:
    """Whether the process that `start_inside` started under `name` still runs."""
    return read_pid_file(settings.state / f"{name}.pid") is not None

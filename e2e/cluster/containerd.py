"""The cluster's own containerd: its configuration, start, and leftovers of earlier runs."""

import shutil
from pathlib import Path

from e2e.cluster.namespaces import run_inside, start_inside
from e2e.cluster.node import cni_folder
from e2e.cluster.processes import ClusterError, Command, end, read_pid_file, wait_for
from e2e.cluster.settings import Settings

PAUSE_IMAGE = "docker.io/plimsoll/pause:local"
NAMESPACE = "k8s.io"


def configuration(settings: Settings, plugins: Path) -> str:
    """containerd's configuration (version 2, which 1.6 and later read).

    `restrict_oom_score_adj`: where CAP_SYS_RESOURCE is missing, a sandbox that
    asks for a better score than its parent's does not start.
    """
    return f"""version = 2
root = "{settings.containerd_root}"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "{settings.containerd_socket}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{settings.state / "cni"}"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def ctr(settings: Settings, *arguments: str | Path, stdin: str | None = None) -> str:
    """Run containerd's own client against the cluster's containerd."""
    client: Command = ["ctr", "--address", settings.containerd_socket, "--namespace", NAMESPACE]
    return run_inside(settings, [*client, *arguments], stdin=stdin)


def start(settings: Settings) -> None:
    """Start containerd without anything that an earlier run left in its store."""
    _start(settings)
    if purge(settings):
        # Its CRI part has read the containers that are gone now.
        stop(settings)
        _start(settings)


def _start(settings: Settings) -> None:
    program = shutil.which("containerd", path="/usr/local/bin:/usr/bin:/usr/sbin:/bin")
    if program is None:
        raise ClusterError("containerd is not installed: install the package containerd")
    settings.containerd_root.mkdir(parents=True, exist_ok=True)
    file = settings.state / "containerd.toml"
    file.write_text(configuration(settings, cni_folder()))
    start_inside(settings, "containerd", [program, "--config", file, "--log-level", "warn"])

    def answers() -> bool:
        try:
            ctr(settings, "version")
        except ClusterError:
            return False
        return True

    wait_for(f"containerd (see {settings.logs}/containerd.log)", answers, 30)


def stop(settings: Settings) -> None:
    """End containerd alone; running containers are not touched."""
    pid = read_pid_file(settings.state / "containerd.pid")
    if pid is None:
        return
    # The pid file names nsenter, which waits for containerd, its only child.
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in [*(int(child) for child in children), pid]:
        end(one)


def purge(settings: Settings) -> bool:
    """Remove every container and its snapshot, but no image. True if there was one."""
    containers = ctr(settings, "containers", "list", "--quiet").split()
    for task in ctr(settings, "tasks", "list", "--quiet").split():
        ctr(settings, "tasks", "delete", "--force", task)
    if containers:
        ctr(settings, "containers", "delete", *containers)
    return bool(containers)

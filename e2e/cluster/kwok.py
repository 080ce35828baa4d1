"""KWOK, which plays the kubelet of nodes that do not exist, as a process of the cluster."""

from pathlib import Path

from e2e.cluster.binaries import kwok_folder
from e2e.cluster.namespaces import alive, run_inside, start_inside
from e2e.cluster.processes import ClusterError, Command, wait_for
from e2e.cluster.settings import Settings

ANNOTATION = "kwok.x-k8s.io/node"
VALUE = "fake"
SERVER = "127.0.0.1:10247"


def command(folder: Path, kubeconfig: Path, server: str) -> Command:
    """The program and what is the same on every cluster; `server` is where it is to listen."""
    return [
        folder / "kwok",
        f"--config={folder / 'stages.yaml'}",
        f"--kubeconfig={kubeconfig}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={ANNOTATION}={VALUE}",
        "--node-lease-duration-seconds=40",
        f"--server-address={server}",
    ]


def ensure(settings: Settings) -> None:
    """Build KWOK if need be and start it unless it runs.

    It manages only nodes that are annotated as fake, and gives their pods
    addresses of the cluster's own pod range, which are routed to nowhere.
    """
    if alive(settings, "kwok"):
        return
    start_inside(
        settings,
        "kwok",
        [
            *command(kwok_folder(settings), settings.certificates / "admin.kubeconfig", SERVER),
            f"--cidr={settings.fake_pod_range}",
            f"--node-ip={settings.node_address}",
        ],
    )

    def answers() -> bool:
        if not alive(settings, "kwok"):
            raise ClusterError(f"kwok has ended: see {settings.logs}/kwok.log")
        try:
            run_inside(settings, ["bash", "-c", f": < /dev/tcp/{SERVER.replace(':', '/')}"])
        except ClusterError:
            return False
        return True

    wait_for(f"kwok (see {settings.logs}/kwok.log)", answers, 20)

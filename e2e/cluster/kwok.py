"""KWOK, which plays the kubelet of nodes that do not exist, as a process of the cluster."""

from e2e.cluster.binaries import kwok_program
from e2e.cluster.namespaces import alive, start_inside
from e2e.cluster.settings import Settings

ANNOTATION = "kwok.x-k8s.io/node"
VALUE = "fake"


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
            kwok_program(settings),
            f"--kubeconfig={settings.certificates / 'admin.kubeconfig'}",
            "--manage-all-nodes=false",
            f"--manage-nodes-with-annotation-selector={ANNOTATION}={VALUE}",
            f"--cidr={settings.fake_pod_range}",
            f"--node-ip={settings.node_address}",
            "--node-lease-duration-seconds=40",
        ],
    )

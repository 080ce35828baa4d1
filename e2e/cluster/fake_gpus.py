"""GPUs that are not there, on nodes that are not there or on the real one.

Labels are those of NVIDIA's GPU feature discovery, the resource that of its
device plug-in, so that schedulers and inventories see what they would see on
a GPU node.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.kwok import ANNOTATION, VALUE
from e2e.cluster.processes import Command, run, wait_for

RESOURCE = "nvidia.com/gpu"
TAINT = {"key": RESOURCE, "value": "present", "effect": "NoSchedule"}
MARK = "plimsoll.dev/fake-gpus"
READY = (
    "jsonpath={range .items[*]}{.metadata.name}"
    '={.status.conditions[?(@.type=="Ready")].status} {end}'
)


@dataclass(frozen=True, slots=True)
class FakeGpus:
    """A kind of node: `count` GPUs of `product`, each with `memory_mib` MiB.

    `cpu` in cores and `memory` as a Kubernetes quantity are what the machine
    around them offers.
    """

    product: str
    memory_mib: int
    count: int = 8
    cpu: int = 192
    memory: str = "2Ti"

    def labels(self) -> dict[str, str]:
        """GPU feature discovery's labels; memory is in MiB there."""
        return {
            "nvidia.com/gpu.product": self.product,
            "nvidia.com/gpu.memory": str(self.memory_mib),
            "nvidia.com/gpu.count": str(self.count),
            "nvidia.com/gpu.present": "true",
        }


def node_name(gpus: FakeGpus, number: int) -> str:
    return f"fake-{gpus.product.lower().replace('_', '-')}-{number}"


def node(gpus: FakeGpus, number: int) -> dict[str, object]:
    """The Node object of a fake node with GPUs, tainted so that only pods with GPUs land there."""
    name = node_name(gpus, number)
    resources = {
        "cpu": str(gpus.cpu),
        "memory": gpus.memory,
        "ephemeral-storage": "1Ti",
        "pods": "110",
        RESOURCE: str(gpus.count),
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {ANNOTATION: VALUE, "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {
                **gpus.labels(),
                MARK: "node",
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "type": "kwok",
            },
        },
        "spec": {"taints": [TAINT]},
        "status": {"capacity": resources, "allocatable": resources},
    }


def create(kubectl: Path, kubeconfig: Path, gpus: FakeGpus, nodes: int) -> list[str]:
    """Create (or bring up to date) fake nodes with GPUs; returns their names."""
    made = [node(gpus, number) for number in range(nodes)]
    listing = json.dumps({"apiVersion": "v1", "kind": "List", "items": made})
    server_side = ("--server-side", "--force-conflicts", "--field-manager=fake-gpus")
    base: Command = [kubectl, "--kubeconfig", kubeconfig]
    run([*base, "apply", *server_side, "-f", "-"], stdin=listing)
    run([*base, "apply", *server_side, "--subresource=status", "-f", "-"], stdin=listing)
    names = [node_name(gpus, number) for number in range(nodes)]

    def ready() -> bool:
        # `kubectl wait` asks for one after the other, which takes minutes for thousands.
        shown = run([*base, "get", "nodes", "-l", f"{MARK}=node", "-o", READY])
        return {f"{name}=True" for name in names} <= set(shown.split())

    wait_for(f"{nodes} fake nodes", ready, 60 + nodes / 10)
    return names


def remove(kubectl: Path, kubeconfig: Path) -> None:
    """Delete all fake nodes with GPUs."""
    base: Command = [kubectl, "--kubeconfig", kubeconfig]
    run([*base, "delete", "node", "-l", f"{MARK}=node", "--ignore-not-found"])


def advertise(kubectl: Path, kubeconfig: Path, name: str, gpus: FakeGpus) -> None:
    """Let an existing node claim GPUs: labels, and an extended resource in its status.

    This is Kubernetes' documented way to advertise an extended resource; the
    kubelet copies it to `allocatable`. The scheduler then counts it, while
    containers get no device.
    """
    base: Command = [kubectl, "--kubeconfig", kubeconfig]
    labels = [f"{key}={value}" for key, value in gpus.labels().items()]
    run([*base, "label", "node", name, "--overwrite", *labels])
    patch = {"status": {"capacity": {RESOURCE: str(gpus.count)}}}
    options = ("--subresource=status", "--type=merge", "-p", json.dumps(patch))
    run([*base, "patch", "node", name, *options])

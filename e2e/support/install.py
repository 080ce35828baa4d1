"""Brings up what the scenarios and the demo run on: cluster, images, operator."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.handle import ClusterHandle, ensure_cluster
from e2e.cluster.processes import ClusterError
from e2e.cluster.settings import DEFAULT_NAME
from e2e.support.kubectl import Kubectl

REPOSITORY = Path(__file__).parents[2]
OVERLAY = REPOSITORY / "manifests" / "overlays" / "default"
SYSTEM = "plimsoll-system"
IMAGE_VARIABLES = ("PLIMSOLL_OPERATOR_IMAGE", "PLIMSOLL_RUNTIME_IMAGE")
DEFAULT_IMAGES = (
    "registry.invalid/plimsoll/operator:dev",
    "registry.invalid/plimsoll/runtime:dev",
)


@dataclass(frozen=True)
class Images:
    """References of the two images, as pods name them."""

    operator: str
    runtime: str


def cluster_name(environment: Mapping[str, str] = os.environ) -> str:
    """Which of our clusters to use: the demo's, unless PLIMSOLL_CLUSTER names another."""
    return environment.get("PLIMSOLL_CLUSTER", DEFAULT_NAME)


def harness(*arguments: str, quiet: bool = False) -> str:
    """Runs a command of the harness on our cluster; what it printed. Raises RuntimeError."""
    command = [sys.executable, "-m", "e2e.cluster", *arguments, "--name", cluster_name()]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed: see the lines above")
    return done.stdout


def is_up() -> bool:
    """Whether our cluster is up already."""
    try:
        harness("status", quiet=True)
    except RuntimeError:
        return False
    return True


def cluster() -> ClusterHandle:
    """A cluster; for ours, the kubectl of its version comes first on the PATH."""
    handle = ensure_cluster(cluster_name())
    if handle.is_ours:
        os.environ["PATH"] = f"{handle.kubectl.parent}{os.pathsep}{os.environ['PATH']}"
    return handle


def images(handle: ClusterHandle, environment: Mapping[str, str] = os.environ) -> Images:
    """Images of this checkout in our cluster; on another, those that the person has put there.

    Raises ClusterError where these are not named.
    """
    if not handle.is_ours:
        named = [environment.get(each, "") for each in IMAGE_VARIABLES]
        if not all(named):
            raise ClusterError(
                f"{' and '.join(IMAGE_VARIABLES)} must name images of this checkout that the "
                "cluster's nodes can pull (README, On your cluster)"
            )
        return Images(*named)
    operator, runtime = harness("images").split()
    return Images(operator, runtime)


def operator(handle: ClusterHandle, references: Images) -> Kubectl:
    """Installs the operator from its manifests and waits for it; kubectl in its namespace."""
    kubectl = Kubectl(str(handle.kubeconfig), SYSTEM)
    manifests = kubectl.run("kustomize", str(OVERLAY)).stdout
    for placeholder, reference in zip(
        DEFAULT_IMAGES, (references.operator, references.runtime), strict=True
    ):
        if placeholder not in manifests:
            raise RuntimeError(f"{OVERLAY} does not name the image {placeholder}")
        manifests = manifests.replace(placeholder, reference)
    kubectl.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifests)
    kubectl.run("rollout", "status", "deployment/plimsoll-operator", "--timeout=180s", timeout=200)
    return kubectl


def namespace(kubectl: Kubectl, name: str) -> Kubectl:
    """A namespace with Pod Security `restricted` enforced; kubectl in it."""
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        }
    )
    return Kubectl(kubectl.kubeconfig, name)

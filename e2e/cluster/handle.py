"""The cluster that tests and the demo run on: the person's own, or ours."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.processes import ClusterError
from e2e.cluster.settings import DEFAULT_NAME, REPOSITORY, settings_for


@dataclass(frozen=True, slots=True)
class ClusterHandle:
    """A cluster to work with.

    `is_ours` tells whether the harness runs it: then its images are loaded by
    `python -m e2e.cluster images`, and its NodePorts answer on 127.0.0.1.
    """

    kubeconfig: Path
    kubectl: Path
    is_ours: bool
    name: str = ""


def ensure_cluster(
    name: str = DEFAULT_NAME, environment: Mapping[str, str] = os.environ
) -> ClusterHandle:
    """A cluster that is up: the one KUBECONFIG names, else ours, brought up if need be.

    Somebody else's is told, and asked for where there is somebody to ask. The harness runs as a
    command of its own, because it needs root and the caller may not be. Raises ClusterError when
    KUBECONFIG names no file, its cluster is not to be used, or ours does not come up.
    """
    given = environment.get("KUBECONFIG")
    ours = settings_for(name, environment)
    if given and Path(given.split(os.pathsep)[0]) != ours.kubeconfig:
        first = Path(given.split(os.pathsep)[0])
        if not first.is_file():
            raise ClusterError(f"KUBECONFIG={given} names no file: unset it or correct it")
        kubectl = shutil.which("kubectl")
        if kubectl is None:
            raise ClusterError("KUBECONFIG is set, but kubectl is not on PATH: install it")
        _agree(first, kubectl)
        return ClusterHandle(first, Path(kubectl), is_ours=False)
    command = [sys.executable, "-m", "e2e.cluster", "up", "--name", name]
    done = subprocess.run(command, cwd=REPOSITORY, check=False, stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        raise ClusterError(f"cluster {name} did not come up: see the lines above")
    return ClusterHandle(ours.kubeconfig, ours.kubectl, is_ours=True, name=name)


def _agree(kubeconfig: Path, kubectl: str) -> None:
    """Says what is going to be done to whose cluster. Raises ClusterError after a no."""
    view = [kubectl, "--kubeconfig", str(kubeconfig), "config", "current-context"]
    context = subprocess.run(view, check=False, capture_output=True, text=True).stdout.strip()
    print(
        f"KUBECONFIG is set, so this is done to the cluster of context {context or 'none'!r}: the "
        "operator is installed over any that is there, namespaces are made and deleted, tests "
        "kill pods and add nodes without hardware.",
        file=sys.stderr,
    )
    if sys.stdin.isatty() and input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise ClusterError("nothing was done; unset KUBECONFIG for a cluster that is made here")

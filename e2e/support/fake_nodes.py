"""Nodes with GPUs that are not there, on whatever cluster the tests run."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster import fake_gpus, kwok
from e2e.cluster.binaries import kwok_folder
from e2e.cluster.fake_gpus import FakeGpus
from e2e.cluster.handle import ClusterHandle
from e2e.cluster.settings import settings_for
from e2e.support import install

# Ranges for documentation and for benchmarks (RFC 5737, RFC 2544), which lead nowhere: nobody must
# be reached under the address of a pod that does not exist.
NODE_ADDRESS = "192.0.2.1"
POD_RANGE = "198.18.0.0/16"


@contextmanager
def fake_nodes(cluster: ClusterHandle, nodes: int, gpus: FakeGpus) -> Iterator[None]:
    """`nodes` nodes with `gpus`, whose pods KWOK plays; they are gone afterwards."""
    if cluster.is_ours:
        kind = ("--product", gpus.product, "--count", str(gpus.count))
        memory = ("--memory-mib", str(gpus.memory_mib))
        install.harness("fake-gpus", "--nodes", str(nodes), *kind, *memory)
        try:
            yield
        finally:
            install.harness("fake-gpus", "--remove")
        return
    with _kwok(cluster.kubeconfig):
        try:
            fake_gpus.create(cluster.kubectl, cluster.kubeconfig, gpus, nodes)
            yield
        finally:
            fake_gpus.remove(cluster.kubectl, cluster.kubeconfig)


@contextmanager
def _kwok(kubeconfig: Path) -> Iterator[None]:
    """KWOK on this machine, for a cluster of the person's own; built once."""
    folder = kwok_folder(settings_for(install.cluster_name()))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{free.getsockname()[1]}"
    ranges = [f"--cidr={POD_RANGE}", f"--node-ip={NODE_ADDRESS}"]
    process = subprocess.Popen(
        [str(word) for word in (*kwok.command(folder, kubeconfig, server), *ranges)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)

"""Sets up what the fault tests run on: a cluster that knows our types and rights, and no operator
but those that the tests start."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import yaml

from e2e.cluster.handle import ClusterHandle
from e2e.faults.api import Api
from e2e.faults.run import Bench
from e2e.support import install
from e2e.support.kubectl import Kubectl, eventually
from e2e.support.traffic import kubectl_proxy

ACCOUNT = f"system:serviceaccount:{install.SYSTEM}:plimsoll-operator"


@contextlib.contextmanager
def no_operator(handle: ClusterHandle) -> Iterator[Kubectl]:
    """Our manifests with no operator; one that was there runs again afterwards."""
    kubectl = Kubectl(str(handle.kubeconfig), install.SYSTEM)
    before = (kubectl.get("deployment", "plimsoll-operator") or {}).get("spec", {}).get("replicas")
    documents = list(yaml.safe_load_all(kubectl.run("kustomize", str(install.OVERLAY)).stdout))
    for document in documents:
        if document["kind"] == "Deployment":
            document["spec"]["replicas"] = 0
    kubectl.run(
        *("apply", "--server-side", "--force-conflicts", "-f", "-"),
        stdin=yaml.safe_dump_all(documents),
    )
    pods = "app.kubernetes.io/name=plimsoll-operator"
    eventually("no operator runs", lambda: not kubectl.list("pods", pods))
    try:
        yield kubectl
    finally:
        if before:
            replicas = f"--replicas={before}"
            kubectl.run("scale", "deployment/plimsoll-operator", replicas)


@contextlib.asynccontextmanager
async def bench(handle: ClusterHandle, folder: Path, keep: bool = False) -> AsyncIterator[Bench]:
    """Ways to the API server: ours as who the kubeconfig says, the operator's with its rights."""
    kubeconfig = str(handle.kubeconfig)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        with kubectl_proxy(kubeconfig) as own, kubectl_proxy(kubeconfig, ACCOUNT) as upstream:
            yield Bench(session, Api(session, own), upstream, folder, secrets.token_hex(2), keep)

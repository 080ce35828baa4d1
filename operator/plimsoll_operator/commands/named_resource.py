"""The LLMDeployment of a cluster that a command is about."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from plimsoll_operator.kube.api_server import Cluster
from plimsoll_operator.kube.kinds import RESOURCE
from plimsoll_operator.revisions.record import RecordError


def add_resource_arguments(parser: argparse.ArgumentParser) -> None:
    """NAME, and where it is."""
    parser.add_argument("name", metavar="NAME", help="the LLMDeployment")
    parser.add_argument(
        "-n", "--namespace", help="where it is; that of the kubeconfig's context if absent"
    )
    parser.add_argument("--context", help="of the kubeconfig; its current one if absent")


@asynccontextmanager
async def cluster_of(options: argparse.Namespace) -> AsyncIterator[tuple[Cluster, str]]:
    """The cluster that is asked for, and the namespace there. Raises ClusterError."""
    cluster = Cluster.connect(2, options.context)
    try:
        yield cluster, options.namespace or Cluster.default_namespace(options.context)
    finally:
        await cluster.close()


async def read_resource(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """As the API server has it. Raises RecordError where there is none, and ClusterError."""
    raw = await cluster.get(RESOURCE, namespace, name)
    if raw is None:
        raise RecordError(f"there is no LLMDeployment {name} in namespace {namespace}: give -n")
    return raw

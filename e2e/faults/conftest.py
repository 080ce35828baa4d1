"""Fixtures of the fault tests, which start operators of their own: no other one may run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster.handle import ClusterHandle
from e2e.faults.bench import no_operator
from e2e.faults.scenarios import GPUS
from e2e.support.fake_nodes import fake_nodes

LONG = "PLIMSOLL_FAULTS_LONG" in os.environ
"""Whether all is tried, as `make e2e-faults` does, or what fits into every run of the tests."""
NODES = 36 if LONG else 4
"""In a long run what hundreds of operators have deployed stays until the end."""


@pytest.fixture(scope="module")
def quiet_cluster(cluster: ClusterHandle) -> Iterator[ClusterHandle]:
    """A cluster with our types and rights and GPUs that are not there, and without an operator."""
    with no_operator(cluster), fake_nodes(cluster, NODES, GPUS):
        yield cluster


@pytest.fixture
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the logs of operators."""
    return tmp_path_factory.mktemp("operators")


@pytest.fixture
def long() -> bool:
    return LONG

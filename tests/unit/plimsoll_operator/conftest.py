"""Processes that end with the test."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.process import Process, Start


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    processes: list[Process] = []

    def begin(cluster: MemoryCluster, admin_port: int = 1) -> Process:
        processes.append(Process(cluster, admin_port))
        return processes[-1]

    yield begin
    for process in processes:
        await process.engines.close()
        await process.admin.close()

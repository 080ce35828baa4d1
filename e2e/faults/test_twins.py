"""Two operators over the same resources do no harm: same bytes, and no war of writes."""

from pathlib import Path

import pytest

from e2e.cluster.handle import ClusterHandle
from e2e.faults.bench import bench
from e2e.faults.conftest import LONG
from e2e.faults.scenarios import SCENARIOS
from e2e.faults.twins import try_twins

IN_SHORT = ("pins",)
MOST_TIMES = 3
"""Of the writes of one operator. Each may write what the other has just written, and try again."""


@pytest.mark.timeout(3600 if LONG else 120)
async def test_two_operators_do_no_harm(
    quiet_cluster: ClusterHandle, logs: Path, long: bool
) -> None:
    shared = []
    async with bench(quiet_cluster, logs) as bed:
        for scenario in SCENARIOS:
            if long or scenario.name in IN_SHORT:
                shared.append(await try_twins(bed, scenario, idle=10 if long else 3))
                print(shared[-1])
    for each in shared:
        assert not each.idle_writes, each
        assert not each.complaints, each
        assert each.together <= MOST_TIMES * each.alone, each

"""The operator dies after its k-th write, for every k; what it leaves behind ends the same."""

from pathlib import Path

import pytest

from e2e.cluster.handle import ClusterHandle
from e2e.faults.bench import bench
from e2e.faults.conftest import LONG
from e2e.faults.crashes import try_scenario
from e2e.faults.idle import idle_writes
from e2e.faults.scenarios import SCENARIOS, Scenario
from e2e.faults.state import RESOURCE

IN_SHORT = {"create": 4}
"""Of a short run, by scenario: the operator is killed after each so many writes."""
TRIED = [scenario for scenario in SCENARIOS if LONG or scenario.name in IN_SHORT]


@pytest.mark.timeout(1800 if LONG else 120)
@pytest.mark.parametrize("scenario", TRIED, ids=lambda scenario: scenario.name)
async def test_crash_at_every_write(
    quiet_cluster: ClusterHandle, logs: Path, long: bool, scenario: Scenario
) -> None:
    every = 1 if long else IN_SHORT[scenario.name]
    async with bench(quiet_cluster, logs, keep=long) as bed:
        report = await try_scenario(bed, scenario, idle=6 if long else 3, every=every)
    print(report)
    # One that is only deleted takes its children along without us.
    assert report.kills or not report.writes, report
    assert not report.idle_writes, report
    assert not report.complaints, report


@pytest.mark.skipif(not LONG, reason="takes twelve minutes")
@pytest.mark.timeout(1200)
async def test_what_they_leave_stays_as_it_is(quiet_cluster: ClusterHandle, logs: Path) -> None:
    """What is in the namespaces of all scenarios above is served at the same time."""
    async with bench(quiet_cluster, logs) as bed:
        resources = await bed.api.list(RESOURCE)
        assert resources
        assert await idle_writes(bed, minutes=10) == []
    print(f"no write in ten minutes for {len(resources)} resources")

"""The operator dies after its k-th write, for every k; what it leaves behind ends the same."""

from pathlib import Path

import pytest

from e2e.cluster.handle import ClusterHandle
from e2e.faults.bench import bench
from e2e.faults.conftest import LONG
from e2e.faults.crashes import try_scenario
from e2e.faults.idle import idle_writes
from e2e.faults.scenarios import SCENARIOS

IN_SHORT = {"create": 4}
"""Of a short run, by scenario: the operator is killed after each so many writes."""


@pytest.mark.timeout(2 * 3600 if LONG else 120)
async def test_crash_at_every_write(quiet_cluster: ClusterHandle, logs: Path, long: bool) -> None:
    reports = []
    async with bench(quiet_cluster, logs, keep=long) as bed:
        for scenario in SCENARIOS:
            if long or scenario.name in IN_SHORT:
                every = 1 if long else IN_SHORT[scenario.name]
                report = await try_scenario(bed, scenario, idle=6 if long else 3, every=every)
                print(report)
                reports.append(report)
        # What is created has seven children, a status, and events.
        assert max(report.writes for report in reports) > 10
        for report in reports:
            assert report.kills or not report.writes, report
            assert not report.idle_writes, report
            assert not report.complaints, report
        if long:
            assert len(reports) >= 20
            print(f"killed {sum(report.kills for report in reports)} times in all")
            assert await idle_writes(bed, minutes=10) == []

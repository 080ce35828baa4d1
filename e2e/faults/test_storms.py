"""An API server that errs, lags, forgets and falls silent: the operator always converges."""

from pathlib import Path

import pytest

from e2e.cluster.handle import ClusterHandle
from e2e.faults.bench import bench
from e2e.faults.conftest import LONG
from e2e.faults.operator_process import SHIPPED, Pace
from e2e.faults.storms import BRISK, STORMS, Terms, endure, notice_silence, outlast

SEEDS = range(5) if LONG else range(1)
# What is shipped lists anew every 300 s, and a list may fail more than once.
AS_SHIPPED = Terms(SHIPPED, limit=700, idle=20)
IN_SHORT = Terms(BRISK, limit=90, idle=5)


@pytest.mark.timeout(1500 if LONG else 180)
@pytest.mark.parametrize("seed", SEEDS)
async def test_converges_while_faults_go_on(
    quiet_cluster: ClusterHandle, logs: Path, long: bool, seed: int
) -> None:
    names = tuple(STORMS) if long else ("everything",)
    terms = AS_SHIPPED if long and seed == 0 else IN_SHORT
    async with bench(quiet_cluster, logs) as bed:
        found = await endure(bed, names, seed, terms)
    for endured in found:
        print(endured)
        assert not endured.idle_writes, endured
        assert not endured.complaints, endured


@pytest.mark.timeout(300)
async def test_silent_watches_are_noticed(
    quiet_cluster: ClusterHandle, logs: Path, long: bool
) -> None:
    async with bench(quiet_cluster, logs) as bed:
        if long:
            seconds = await notice_silence(bed)
        else:
            seconds = await notice_silence(bed, Pace(inactivity=5.0), limit=20.0)
    print(f"silent watches were noticed after {seconds:.1f} s")


@pytest.mark.skipif(not LONG, reason="takes three minutes, longer than a client commonly tries")
@pytest.mark.timeout(400)
async def test_an_outage_is_outlasted(quiet_cluster: ClusterHandle, logs: Path) -> None:
    async with bench(quiet_cluster, logs) as bed:
        seconds = await outlast(bed, 180)
    print(f"converged {seconds:.1f} s after the API server was back")

"""Specs come and go, good and bad: back at an earlier one the children are what they were."""

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from e2e.cluster.handle import ClusterHandle
from e2e.faults.bench import bench
from e2e.faults.conftest import LONG
from e2e.faults.operator_process import complaints
from e2e.faults.sequences import Lanes
from e2e.faults.specs import good, other

STEPS = 2000 if LONG else 60
LANES = 10
STEPS_A_BATCH = 3 * LANES


@pytest.fixture
def lanes(quiet_cluster: ClusterHandle, logs: Path) -> Iterator[tuple[asyncio.Runner, Lanes]]:
    # hypothesis calls plain functions only, so the loop is made to run in between.
    with asyncio.Runner() as runner:
        bed = bench(quiet_cluster, logs)
        lanes = Lanes(runner.run(bed.__aenter__()), LANES)
        runner.run(lanes.__aenter__())
        try:
            yield runner, lanes
        finally:
            runner.run(lanes.__aexit__())
            runner.run(bed.__aexit__(None, None, None))


@pytest.mark.timeout(3600 if LONG else 120)
def test_there_and_back(lanes: tuple[asyncio.Runner, Lanes]) -> None:
    runner, driven = lanes

    @settings(
        max_examples=math.ceil(STEPS / STEPS_A_BATCH),
        deadline=None,
        database=None,
        # Making an example smaller would take as long as finding it; all of its specs are told.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.tuples(good(), other()), min_size=LANES, max_size=LANES))
    def batches(pairs: list[tuple[dict[str, object], dict[str, object]]]) -> None:
        runner.run(driven.there_and_back(pairs))

    batches()
    found = complaints(driven.log)
    print(
        f"{driven.steps} steps, {driven.refused} specs refused by the API server, "
        f"{driven.compared} times back to the same bytes, {len(found)} complaints in the log"
    )
    assert driven.compared
    assert found == []

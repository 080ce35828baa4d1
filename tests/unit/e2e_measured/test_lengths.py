"""Lengths of requests that measure the engine."""

from dataclasses import replace

from e2e.measured.lengths import LONGER, longer
from e2e.measured.traffic import TRACES
from plimsoll_planner.performance.frontend_time import FrontendTime
from plimsoll_planner.performance.step_time import StepTime
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_runtime.core.limits import EngineLimits

STEP = StepTime(0.0, 2e-4, 0.0, 0.0, 3e-5, 0.0, 0.0, 0.0, 0.0, 0.0)
REPLICA = ReplicaModel(
    STEP,
    EngineLimits(32, 512, 2048, num_blocks=1024),
    frontend=FrontendTime(2e-3, 0.0, 1e-4, 1e-4, 0.0, 0.0, 0.0),
)
"""Near what was measured of the built-in model."""


def test_a_faster_engine_needs_longer_requests_and_long_prompts_do() -> None:
    for trace in TRACES:
        slower = replace(REPLICA, step=replace(STEP, compute_per_token=1e-3))
        found = [longer(each, trace, 200) for each in (slower, REPLICA)]
        assert found == sorted(found)
        assert found[0] == LONGER[0]
    azure, mooncake = (longer(REPLICA, trace, 200) for trace in TRACES)
    assert azure > mooncake > 1


def test_without_a_frontend_lengths_are_the_traces_own() -> None:
    assert longer(replace(REPLICA, frontend=None), TRACES[0], 20) == 1

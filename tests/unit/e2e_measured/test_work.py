"""CPU seconds of server and client, as the frontend that is simulated."""

from dataclasses import replace

import pytest

from e2e.measured.frontend import Seen, frontend_time, under_traffic
from e2e.measured.probes import ALONE, REPEATS, Probed
from e2e.measured.work import Work, work_of
from plimsoll_planner.calibration.frontend_fit import WorkTime
from plimsoll_planner.performance.frontend_time import FrontendTime
from plimsoll_planner.performance.step_time import StepTime
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_planner.simulation.simulator import Fleet, simulate
from plimsoll_runtime.core.limits import EngineLimits
from tests.unit.plimsoll_planner.worked import worked

TRUE = WorkTime(2e-3, 2e-6, 1e-4, 1e-4, 5e-5, 0.01)


def stretches() -> list[Work]:
    """Of many kinds."""
    return [
        Work(*each[:6], server=0.7 * each.cpu_seconds, client=0.3 * each.cpu_seconds)
        for each in worked(TRUE)
    ]


def probed(waited: float) -> Probed:
    """By a frontend like TRUE, whose lone clients wait so long beside what tokens take."""
    before = waited + TRUE.message + TRUE.event + TRUE.token
    outside = [before + TRUE.prompt_token * length for length in ALONE for _ in range(REPEATS)]
    return Probed((), tuple(outside), tuple(stretches()))


@pytest.mark.parametrize(
    ("waited", "request_end_latency"),
    [(2.5e-3, (2e-3, 0, 5e-4)), (1.5e-3, (1.5e-3, 5e-4, 0)), (-1e-3, (0, 2e-3, 0))],
)
def test_waits_of_lone_requests_are_work_and_then_latency(
    waited: float, request_end_latency: tuple[float, ...]
) -> None:
    found = frontend_time(probed(waited))
    assert found is not None
    assert (found.request, found.end, found.latency) == pytest.approx(request_end_latency)
    assert (found.prompt_token, found.message) == pytest.approx((2e-6, 1e-4))
    assert (found.event, found.token) == pytest.approx((1e-4, 5e-5))
    assert frontend_time(Probed((), probed(waited).request_seconds)) is None


def test_work_is_read_as_it_was_written() -> None:
    work = tuple(stretches())
    assert work_of(map(list, work)) == work
    known = probed(1e-3)
    assert Probed.of(known.plain()) == known


@pytest.mark.parametrize(
    ("beyond", "request_end_latency"),
    [
        (-5e-3, (0, 1.5e-3, 0)),
        (-2e-4, (0.8e-3, 0.7e-3, 0)),
        (7e-4, (1.5e-3, 0, 2e-4)),
        (5e-3, (1.5e-3, 0, 1e-3)),
    ],
)
def test_waits_under_traffic_are_at_most_those_of_lone_requests(
    beyond: float, request_end_latency: tuple[float, ...]
) -> None:
    step = StepTime(0.0, 1e-3, 0.0, 0.0, 2e-5, 0.0, 0.0, 0.0, 0.0, 0.0)
    frontend = FrontendTime(1e-3, 0.0, 1e-4, 5e-5, 5e-5, 5e-4, 0.0)
    coming = [Arrival(number * 0.04, 100, 20) for number in range(40)]
    replica = ReplicaModel(step, EngineLimits(8, 256, 1024, num_blocks=160), frontend=frontend)
    seen = Seen(coming, [each.ttft + beyond for each in simulate(Fleet(replica), coming).served])
    lone = replace(frontend, request=1.5e-3, end=0.0, latency=1e-3)
    alone = replace(replica, frontend=lone)
    found = under_traffic(alone, [seen]).frontend
    assert found is not None
    assert (found.request, found.end, found.latency) == pytest.approx(request_end_latency, abs=1e-9)
    assert under_traffic(alone, []) == alone

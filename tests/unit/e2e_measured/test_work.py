"""CPU seconds of the frontend, fitted."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e.measured.frontend import Seen, frontend_time, under_traffic
from e2e.measured.probes import ALONE, REPEATS, Probed
from e2e.measured.work import Work, WorkTime, fit, work_of
from plimsoll_planner.frontend_time import FrontendTime
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_planner.simulation.simulator import Fleet, simulate
from plimsoll_planner.step_time import StepTime
from plimsoll_runtime.core.limits import EngineLimits

TRUE = WorkTime(2e-3, 2e-6, 1e-4, 1e-4, 5e-5, 0.01)


def stretches(time: WorkTime, noise: float = 0.0, slow: int = 0) -> list[Work]:
    """Of many kinds; `slow` of them took three times as long."""
    chance = random.Random(3)
    found = []
    for number in range(40):
        requests, steps = chance.choice((1, 6, 32)), chance.choice((20, 200))
        events = steps * chance.choice((1, 4, 16))
        work = Work(
            requests,
            requests * chance.choice((8, 100, 900)),
            steps,
            events,
            events * chance.choice((1, 2)),
            chance.uniform(0.5, 5.0),
            0.0,
            0.0,
        )
        seconds = sum(each * count for each, count in zip(time, work.counts, strict=True))
        seconds *= chance.lognormvariate(0, noise) * (3 if number < slow else 1)
        found.append(work._replace(server=0.7 * seconds, client=0.3 * seconds))
    return found


def test_what_was_put_in_comes_out() -> None:
    assert fit(stretches(TRUE)) == pytest.approx(TRUE)


def test_a_few_slow_stretches_do_not_pull() -> None:
    found = fit(stretches(TRUE, noise=0.02, slow=4))
    assert found == pytest.approx(TRUE, rel=0.25)
    assert found.request == pytest.approx(TRUE.request, rel=0.1)


@given(st.lists(st.floats(0, 1e-3), min_size=6, max_size=6))
@settings(max_examples=5)
def test_nothing_is_negative(times: list[float]) -> None:
    found = fit(stretches(WorkTime(*times)._replace(second=1e-3), noise=0.3))
    assert all(each >= 0 for each in found)


def test_work_without_cpu_time_is_an_error() -> None:
    with pytest.raises(ValueError, match="schedstat"):
        fit([Work(1, 1, 1, 1, 1, 1.0, 0.0, 0.0)])


def probed(waited: float) -> Probed:
    """By a frontend like TRUE, whose lone clients wait so long beside what tokens take."""
    before = waited + TRUE.step + TRUE.event + TRUE.token
    outside = [before + TRUE.prompt_token * length for length in ALONE for _ in range(REPEATS)]
    return Probed((), tuple(outside), tuple(stretches(TRUE)))


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
    work = tuple(stretches(TRUE))
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

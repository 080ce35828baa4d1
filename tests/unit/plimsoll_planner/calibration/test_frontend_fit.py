"""CPU seconds of a server, fitted to what it did."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_planner.calibration.fit import CalibrationError
from plimsoll_planner.calibration.frontend_fit import MIN_STRETCHES, WorkTime, fit, measured, off
from plimsoll_planner.calibration.frontend_work import Work
from plimsoll_planner.performance.frontend_time import FrontendTime
from tests.unit.plimsoll_planner.worked import worked

TRUE = WorkTime(2e-3, 2e-6, 1e-4, 1e-4, 5e-5, 0.01)

times = st.builds(
    WorkTime,
    st.floats(5e-4, 5e-3),
    st.floats(0, 5e-6),
    st.floats(2e-5, 2e-4),
    st.floats(2e-5, 2e-4),
    st.floats(0, 1e-4),
    st.floats(0, 0.02),
)


def test_what_was_put_in_comes_out() -> None:
    assert fit(worked(TRUE)) == pytest.approx(TRUE)


def test_a_few_slow_stretches_do_not_pull() -> None:
    found = fit(worked(TRUE, noise=0.02, slow=4))
    assert found == pytest.approx(TRUE, rel=0.25)
    assert found.request == pytest.approx(TRUE.request, rel=0.1)


@given(st.lists(st.floats(0, 1e-3), min_size=6, max_size=6))
@settings(max_examples=20)
def test_nothing_is_negative(values: list[float]) -> None:
    found = fit(worked(WorkTime(*values)._replace(second=1e-3), noise=0.3))
    assert all(each >= 0 for each in found)


def test_work_without_cpu_time_is_an_error() -> None:
    with pytest.raises(ValueError, match="no CPU time"):
        fit([Work(1, 1, 1, 1, 1, 1.0, 0.0)])


@given(times, st.integers(0, 2**30), st.integers(0, 6))
@settings(max_examples=15, deadline=None)
def test_a_server_is_found_through_noise_and_outliers(true: WorkTime, seed: int, slow: int) -> None:
    """Of each what matters: a request, and a step that many clients get a token of."""
    work = worked(true, noise=0.03, slow=slow, count=120, seed=seed)
    found = measured(work)
    assert found.time.request == pytest.approx(true.request, rel=0.2)
    for clients in (1, 16):
        step = true.message + clients * (true.event + true.token)
        told = found.time.message + clients * (found.time.event + found.time.token)
        assert told == pytest.approx(step, rel=0.2)
    assert found.error < 0.05
    assert 100 <= found.stretches <= 120
    assert found.time.end == found.time.latency == 0


@given(st.integers(0, MIN_STRETCHES - 1))
def test_too_little_traffic_is_no_fit(count: int) -> None:
    idle = [Work(0, 0, 0, 0, 0, 1.0, 1e-3)] * 100
    with pytest.raises(CalibrationError, match=f"in {count} stretches of time, 20 of each needed"):
        measured([*worked(TRUE, count=count), *idle])


@given(st.integers(1, 32), st.integers(0, 900), st.integers(1, 40), st.integers(0, 2**30))
@settings(max_examples=30, deadline=None)
def test_traffic_that_is_all_alike_is_no_fit(
    requests: int, prompt: int, steps: int, seed: int
) -> None:
    chance = random.Random(seed)
    work = Work(requests, requests * prompt, steps, 2 * steps, 2 * steps, 1.0, 0.0)
    seconds = TRUE.of(work)
    alike = [
        work._replace(cpu_seconds=seconds * chance.lognormvariate(0, 0.02)) for _ in range(200)
    ]
    with pytest.raises(CalibrationError, match="too much alike"):
        measured(alike)


def test_what_is_no_server_is_no_fit() -> None:
    slow = WorkTime(*(100 * each for each in TRUE))
    with pytest.raises(CalibrationError, match="more than a server's"):
        measured(worked(slow))
    chance = random.Random(1)
    wild = [
        each._replace(cpu_seconds=chance.choice((0.01, 0.1, 1.0, 5.0)))
        for each in worked(TRUE, count=100)
    ]
    with pytest.raises(CalibrationError, match=r"far from any fit|off by|too much alike"):
        measured(wild)


@given(times)
@settings(max_examples=20)
def test_what_was_found_explains_other_stretches_until_it_changes(true: WorkTime) -> None:
    found = measured(worked(true, noise=0.02, count=100))
    assert off(found.time, worked(true, noise=0.02, seed=5)) < 0.1
    slower = WorkTime(*(2 * each for each in true))
    assert off(found.time, worked(slower, noise=0.02, seed=5)) > 0.12
    assert off(found.time, []) == math.inf


def test_on_a_share_of_a_core_all_takes_longer() -> None:
    assert FrontendTime(1, 2, 3, 4, 5, 6, 7).scaled(2) == FrontendTime(2, 4, 6, 8, 10, 12, 14)

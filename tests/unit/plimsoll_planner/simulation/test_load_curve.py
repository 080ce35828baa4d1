from itertools import islice

import pytest

from plimsoll_planner.inputs import Lengths, Objectives, Workload
from plimsoll_planner.performance.step_time import StepTime
from plimsoll_planner.simulation.experiment import Experiment
from plimsoll_planner.simulation.load_curve import Point, capacity, keeps, knee, load_curve
from plimsoll_planner.simulation.random_traffic import RandomTraffic
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_planner.simulation.summary import Percentiles, Summary
from plimsoll_runtime.core.limits import EngineLimits

EVEN = Workload(4, Lengths(16, 16), Lengths(20, 20))
MODEL = ReplicaModel(
    StepTime(0.0, 0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    EngineLimits(4, 512, 64, num_blocks=64),
)


def single_server(rate: float) -> Summary:
    """An M/M/1 queue that serves one request a second: the time spent there is exponential."""
    mean = 1 / (1 - rate)
    spent = Percentiles(mean, 0.69 * mean, 2.30 * mean, 3.00 * mean, 4.61 * mean, None)
    return Summary(1000, rate, rate, spent, None, spent, spent, None, 0, rate, 0, 0, 0, rate, 0, 0)


def points(*rates: float) -> list[Point]:
    return [Point(rate, single_server(rate)) for rate in rates]


@pytest.mark.parametrize(
    "rates", [(0.1, 0.3, 0.5, 0.7, 0.9), (0.2, 0.4, 0.6, 0.8), (0.3, 0.45, 0.6)]
)
def test_the_knee_of_a_single_server_is_at_half_its_capacity(rates: tuple[float, ...]) -> None:
    """As Kleinrock proved."""
    assert knee(points(*rates)) == pytest.approx(0.5, rel=0.05)


def test_a_knee_outside_of_what_was_simulated_is_not_told() -> None:
    assert knee(points(0.1, 0.2, 0.3)) is None
    assert knee(points(0.6, 0.7, 0.8)) is None
    assert knee(points(0.5)) is None
    assert knee([]) is None


def test_the_most_load_within_a_promise_is_looked_for_between_the_points() -> None:
    """A p95 of 12 s is reached at a load of 3/4."""
    found = load_curve(single_server, [0.9, 0.3, 0.6], 1.0, Objectives(ttft_p95=12.0))
    assert 0.73 < found.sustained <= 0.75
    rates = [point.rate for point in found.points]
    assert rates == sorted(rates)
    assert len(rates) == 7


def test_what_holds_everywhere_or_nowhere_needs_no_more_points() -> None:
    easy = load_curve(single_server, [0.3, 0.6], 1.0, Objectives(ttft_p95=100.0))
    assert (easy.sustained, len(easy.points)) == (0.6, 2)
    hard = load_curve(single_server, [0.3, 0.6], 1.0, Objectives(ttft_p95=1.0))
    assert (hard.sustained, len(hard.points)) == (0.0, 2)


def test_what_is_not_promised_is_kept() -> None:
    assert keeps(single_server(0.9), Objectives())
    assert keeps(single_server(0.9), Objectives(tpot_p95=0.001)), "nobody got a second token"


def test_capacity_is_the_places_over_the_time_that_each_is_taken() -> None:
    """Four places, twenty steps of 10 ms each, and prompts that take no step of their own."""
    found = capacity(MODEL, RandomTraffic(EVEN).arrivals(1.0, 64, 0))
    assert found == pytest.approx(4 / 0.2, rel=0.02)


def test_too_short_a_trace_has_no_capacity() -> None:
    with pytest.raises(ValueError, match="too few"):
        capacity(MODEL, islice(RandomTraffic(EVEN).arrivals(1.0, 64, 0), 3))


def test_an_experiment_draws_the_curve_up_to_beyond_its_capacity() -> None:
    experiment = Experiment(MODEL, Objectives(ttft_p95=0.1), RandomTraffic(EVEN), requests=150)
    curve = experiment.curve()
    assert curve.points[0].rate < 0.2 * curve.capacity
    assert curve.points[-1].rate == pytest.approx(1.1 * curve.capacity)
    assert curve.knee is not None
    assert 0.3 < curve.knee / curve.capacity < 1
    assert 0.3 < curve.sustained / curve.capacity < 1
    two = Experiment(MODEL, Objectives(), RandomTraffic(EVEN), replicas=2, requests=150)
    assert two.capacity() == 2 * curve.capacity

from random import Random

import pytest

from plimsoll_planner.inputs import Objectives
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.replica import Served
from plimsoll_planner.simulation.summary import is_good, percentile, percentiles


def served(ttft: float, tpot: float | None) -> Served:
    return Served(0, Arrival(0.0, 10, 10), 0.0, ttft, tpot, 1.0, 0, 0)


def test_percentiles_are_by_nearest_rank() -> None:
    ordered = [float(n) for n in range(1, 101)]
    assert [percentile(ordered, share) for share in (0.0, 0.5, 0.95, 0.99, 1.0)] == [
        1.0,
        50.0,
        95.0,
        99.0,
        100.0,
    ]
    assert percentile([3.0], 0.95) == 3.0


def test_few_values_have_no_error() -> None:
    found = percentiles([2.0, 1.0, 3.0])
    assert found is not None
    assert (found.mean, found.p50, found.p95, found.p95_error) == (2.0, 2.0, 3.0, None)
    assert percentiles([]) is None


def test_the_interval_covers_the_true_percentile_as_often_as_it_says() -> None:
    """Of exponential values: 95 in 100 intervals should hold ln 20."""
    rng, hits = Random(4), 0
    for _ in range(200):
        found = percentiles([rng.expovariate(1.0) for _ in range(800)])
        assert found is not None
        assert found.p95_error is not None
        hits += abs(found.p95 - 2.995732) <= found.p95_error
    assert 0.91 <= hits / 200 <= 0.99


@pytest.mark.parametrize(
    ("ttft", "tpot", "good"),
    [(0.5, 0.05, True), (0.51, 0.05, False), (0.5, 0.051, False), (0.5, None, True)],
)
def test_a_request_is_good_that_met_every_objective(
    ttft: float, tpot: float | None, good: bool
) -> None:
    assert is_good(served(ttft, tpot), Objectives(0.5, 0.05)) is good
    assert is_good(served(ttft, tpot), Objectives())

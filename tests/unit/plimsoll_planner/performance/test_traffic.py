import math
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_planner.inputs import Lengths, Workload
from plimsoll_planner.performance.traffic import Traffic, squared_variation
from plimsoll_planner.simulation.random_traffic import lognormal_lengths
from plimsoll_planner.simulation.summary import percentile


def test_fixed_lengths_do_not_vary() -> None:
    assert squared_variation(Lengths(100, 100)) == 0
    assert squared_variation(Lengths(100, 80)) == 0


@pytest.mark.parametrize("ratio", [1.5, 2.0, 3.0])
def test_variation_reproduces_mean_and_p95(ratio: float) -> None:
    lengths = Lengths(1000, round(1000 * ratio))
    drawn = sorted(islice(lognormal_lengths(lengths, Random(1)), 40_000))
    assert sum(drawn) / len(drawn) == pytest.approx(1000, rel=0.02)
    assert percentile(drawn, 0.95) == pytest.approx(lengths.p95, rel=0.03)


@given(st.integers(1, 10_000), st.floats(1, 100))
def test_variation_is_finite_and_bounded(mean: int, ratio: float) -> None:
    variation = squared_variation(Lengths(mean, math.ceil(mean * ratio)))
    assert 0 <= variation <= math.exp(1.6448536269514722**2) - 1


@given(st.integers(1, 2_000), st.floats(1, 3))
def test_variation_grows_with_p95(mean: int, ratio: float) -> None:
    near, far = Lengths(mean, int(mean * ratio)), Lengths(mean, int(mean * ratio) + 1 + mean // 5)
    assert squared_variation(near) <= squared_variation(far)


def test_context_is_prompt_and_half_the_output_where_lengths_are_fixed() -> None:
    traffic = Traffic.of(Workload(1, Lengths(100, 100), Lengths(50, 50)), 4096)
    assert traffic.context == 125


def test_long_outputs_are_met_more_often() -> None:
    fixed = Traffic.of(Workload(1, Lengths(100, 100), Lengths(50, 50)), 4096)
    varied = Traffic.of(Workload(1, Lengths(100, 100), Lengths(50, 150)), 4096)
    assert varied.context > fixed.context


def test_lengths_are_cut_at_the_limit() -> None:
    traffic = Traffic.of(Workload(1, Lengths(900, 5000), Lengths(900, 5000)), 1000)
    assert traffic.prompt_p95 == 1000
    assert traffic.context == 1000


def test_tokens_in_the_cache_vary_with_number_and_lengths() -> None:
    fixed = Traffic.of(Workload(1, Lengths(100, 100), Lengths(100, 100)), 4096)
    varied = Traffic.of(Workload(1, Lengths(100, 300), Lengths(100, 300)), 4096)
    assert 10 * 150 < fixed.resident_p95(10, 10) < 10 * 200
    assert varied.resident_p95(10, 10) > fixed.resident_p95(10, 10)
    assert fixed.resident_p95(10, 16) > fixed.resident_p95(10, 10)

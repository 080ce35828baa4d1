"""The performance model against 184 published serving points; see the head of the data file."""

import statistics

import pytest

from tests.unit.plimsoll_planner.measured import Point, points, rank_correlation


@pytest.fixture(scope="module")
def all_points() -> list[Point]:
    found = points()
    assert len(found) == 184
    return found


def percentile(errors: list[float], share: float) -> float:
    return sorted(errors)[int(share * len(errors))]


def test_error_over_all(all_points: list[Point]) -> None:
    tpot = [point.tpot_error for point in all_points]
    assert statistics.median(tpot) <= 0.04
    assert percentile(tpot, 0.9) <= 0.12
    assert statistics.median(point.ttft_error for point in all_points) <= 0.25
    assert abs(statistics.median(p.predicted.tpot / p.tpot - 1 for p in all_points)) <= 0.01


@pytest.mark.parametrize(
    ("model", "count", "tpot", "tpot_p90", "rank", "ttft"),
    [
        ("Qwen3-32B", 93, 0.05, 0.12, 0.95, 0.20),
        ("Llama-3.1-70B", 45, 0.03, 0.11, 0.99, 0.30),
        # SGLang streams some 20,000 tokens/s from one process here, whatever the GPUs: with 512
        # clients that, which is not modelled, makes TTFT and mixes up near equal TPOTs.
        ("Llama-3.1-8B-Instruct", 46, 0.05, 0.15, 0.80, 0.60),
    ],
)
def test_error_by_model(
    all_points: list[Point],
    model: str,
    count: int,
    tpot: float,
    tpot_p90: float,
    rank: float,
    ttft: float,
) -> None:
    of = [point for point in all_points if point.row["model"] == model]
    assert len(of) == count
    errors = [point.tpot_error for point in of]
    assert statistics.median(errors) <= tpot
    assert percentile(errors, 0.9) <= tpot_p90
    assert rank_correlation([p.predicted.tpot for p in of], [p.tpot for p in of]) >= rank
    assert statistics.median(point.ttft_error for point in of) <= ttft


@pytest.mark.parametrize("size", ["1", "2", "4", "8"])
def test_no_tensor_parallelism_is_off(all_points: list[Point], size: str) -> None:
    of = [point for point in all_points if point.row["tp"] == size]
    assert statistics.median(point.tpot_error for point in of) <= 0.05

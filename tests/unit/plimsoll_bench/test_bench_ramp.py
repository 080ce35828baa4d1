"""Which loads a ramp tries."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_bench.figures import Objectives
from plimsoll_bench.ramp import MOST_POINTS, LoadPoint, first_rate, knee, next_rate
from plimsoll_bench.result import Run
from plimsoll_bench.session import sustained
from tests.unit.plimsoll_bench.bench_samples import record, run


def ramp(capacity: float, service: float, fails_from: float = float("inf")) -> list[LoadPoint]:
    """Of a server with the latency of an M/M/1 queue; beyond its capacity the queue grows for as
    long as a load lasts."""
    points: list[LoadPoint] = []
    rate: float | None = first_rate(service)
    while rate is not None:
        use = rate / capacity
        latency = service / (1 - use) if use < 0.95 else service * (20 + 7.5 * (use - 0.95))
        points.append(LoadPoint(rate, None if rate >= fails_from else latency))
        rate = next_rate(points)
    return points


@given(st.floats(1.0, 100.0), st.floats(0.01, 20.0))
@settings(max_examples=30)
def test_a_ramp_ends_at_the_knee_of_a_queue(at_once: float, service: float) -> None:
    capacity = at_once / service
    points = ramp(capacity, service)
    assert len(points) <= MOST_POINTS
    found = knee(points)
    # Load over latency is largest at half the capacity of such a queue.
    assert found is not None
    assert 0.3 * capacity < found < 0.75 * capacity


def test_failures_end_the_rise() -> None:
    points = ramp(10.0, 0.1, fails_from=4.0)
    assert max(each.rate for each in points) < 4.0 * 1.7
    assert len(points) < MOST_POINTS


def test_a_first_rate_beyond_the_knee_goes_down() -> None:
    points = [LoadPoint(8.0, 10.0), LoadPoint(12.8, 40.0)]
    assert next_rate(points) == pytest.approx(5.0)


def test_objectives_hold_up_to_the_first_break() -> None:
    def at(rate: float, first: float, failure: str = "") -> Run:
        return run([record(first=first, failure=failure)], rate=rate)

    kept = [at(1.0, 0.1), at(2.0, 0.2), at(3.0, 0.9), at(4.0, 0.1)]
    assert sustained(kept, Objectives(ttft=0.5)) == 2.0
    assert sustained(kept, Objectives()) is None
    broken = [at(1.0, 0.1), at(2.0, 0.1, "timeout")]
    assert sustained(broken, Objectives(ttft=0.5)) == 1.0

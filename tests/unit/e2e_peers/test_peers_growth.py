"""How costs grow: which points, what is read off them, and what counts as a cliff."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e.peers.engine import Precision
from e2e.peers.growth import (
    CLIFF,
    CONTEXTS,
    SEQUENCES,
    Point,
    cliffs,
    concurrent,
    grid,
    load,
    steady_rate,
    step_seconds,
)
from e2e.peers.growth_page import Growth, read, write
from e2e.peers.roofline import Roofline
from plimsoll_bench.load import Arrivals
from tests.unit.plimsoll_bench.bench_samples import record


def test_points_go_up_to_all_sequences_and_all_contexts() -> None:
    points = grid()
    assert {each.sequences for each in points} == set(SEQUENCES)
    assert {each.context for each in points} == set(CONTEXTS)
    assert points[0] == Point(1, 128)
    assert max(grid(4096), key=lambda each: each.sequences).sequences == 32


@pytest.mark.parametrize("point", [Point(1, 128), Point(64, 128), Point(4, 8192), Point(64, 512)])
def test_a_point_holds_what_it_says(point: Point) -> None:
    sent = load(point, 1024)
    assert len(sent.requests) == point.sequences
    assert {each.prompt_tokens + each.output_tokens for each in sent.requests} == {point.context}
    assert len({each.prompt for each in sent.requests}) == point.sequences
    assert sent == load(point, 1024)


def test_a_step_is_timed_while_all_sequences_are_in_it() -> None:
    # The first begins while the second's prompt is computed, in steps that take ten times as long.
    slow = [0.1 + 0.1 * i for i in range(10)]
    times = [*slow, *(slow[-1] + 0.01 * i for i in range(1, 31))]
    first = record(tokens=40)
    first = type(first)(**{**vars(first), "times": times, "counts": [1] * 40})
    second = record(first=1.0, gap=0.01, tokens=60)
    assert step_seconds([first, second]) == pytest.approx(0.01, rel=0.05)
    assert step_seconds([first, record(first=1.25, gap=0.01, tokens=60)]) is None
    assert step_seconds([first, record(failure="http 500")]) is None
    assert step_seconds([]) is None


def test_throughput_is_counted_until_places_are_empty() -> None:
    ended = record(first=0.1, gap=0.1, tokens=10)
    last = record(due=1.05, first=0.1, gap=0.1, tokens=10)
    assert steady_rate([ended, last]) == pytest.approx(10 / 1.05)
    assert steady_rate([ended, record(failure="timeout")]) is None
    sent = concurrent(16)
    assert (sent.arrivals, sent.concurrency, len(sent.requests)) == (Arrivals.CLOSED, 16, 48)


@given(st.floats(1e-3, 1.0), st.floats(0.0, 1e-2), st.floats(0.0, 1e-6))
@settings(max_examples=20)
def test_costs_that_grow_evenly_have_no_cliff(base: float, each: float, token: float) -> None:
    seconds = {
        point: base + each * point.sequences + token * point.sequences * point.context
        for point in grid()
    }
    assert cliffs(seconds, {count: 1.0 + count for count in SEQUENCES}) == []


@given(st.sampled_from(grid()), st.floats(0.2, 3.0))
@settings(max_examples=30)
def test_a_jump_is_found_where_it_is(point: Point, more: float) -> None:
    seconds = dict.fromkeys(grid(), 0.01)
    # At an end of its lines, twice the work may take twice as long.
    seconds[point] *= (1 + more) * 2 * CLIFF
    found = [each for each in cliffs(seconds, {}) if each.cost == seconds[point]]
    assert bool(found) is (point != Point(1, 128))
    assert {each.at for each in found} <= {point.sequences, point.context}


def test_throughput_should_not_fall() -> None:
    (found,) = cliffs({}, {1: 100.0, 2: 150.0, 4: 110.0})
    assert found.at == 4
    assert found.cost == pytest.approx(1 / 110)


def test_the_page_and_its_pictures(tmp_path: Path) -> None:
    steps = tuple(
        (each.sequences, each.context, 0.01 if each != Point(4, 512) else 0.05) for each in grid()
    )
    rates = ((1, 100.0), (2, 150.0))
    made = Growth(
        "ours",
        "0.1",
        "135m",
        Precision.BF16,
        "c0ffee",
        "2026-01-01T00:00:00Z",
        Roofline(5e10, 7e11, 1e12),
        steps,
        rates,
        0.0,
    )
    write([made], tmp_path, {"cpu": "A", "cores": "2"})
    assert read(tmp_path / "growth.json") == [made]
    text = (tmp_path / "growth.md").read_text(encoding="utf-8")
    assert "context 512, sequences 4: 50ms where the neighbours say 10ms, 5.00 times" in text
    assert "| 8192 | 10ms | 10ms | 10ms | – | – | – | – |" in text
    assert "| 2 | 150/s |" in text
    for name in ("growth-135m-ours.svg", "growth-135m-throughput.svg"):
        assert name in text
        assert (tmp_path / name).read_text(encoding="utf-8").count("<polyline") >= 1
    assert read(tmp_path / "none.json") == []

"""Figures of loads."""

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_bench.figures import ClientFigures, Objectives, client_figures, figures, spread
from plimsoll_bench.record import Record
from tests.unit.plimsoll_bench.bench_samples import record


def test_one_request() -> None:
    found = figures([record(first=0.2, gap=0.01, tokens=11, prompt=100)], Objectives())
    assert found.ttft is not None
    assert found.tpot is not None
    assert found.e2e is not None
    assert found.ttft.p50 == found.ttft.p99 == pytest.approx(0.2)
    assert found.tpot.p50 == pytest.approx(0.01)
    assert found.e2e.p50 == found.seconds == pytest.approx(0.3)
    assert found.output_rate == pytest.approx(11 / 0.3)
    assert found.total_rate == pytest.approx(111 / 0.3)
    assert found.prefill_rate == pytest.approx(100 / 0.2)
    assert found.goodput is None
    assert found.failures == {}


def test_latency_counts_from_when_a_request_was_due() -> None:
    late = record(due=5.0, first=2.0, late=1.9)
    found = figures([late], Objectives())
    assert found.ttft is not None
    assert found.ttft.p50 == pytest.approx(2.0)
    assert client_figures([late], [], 0.0, 10.0).late_p99 == pytest.approx(1.9)


def test_a_token_without_text_came_with_the_end() -> None:
    """As a server has it that tells no ids, where a character takes more tokens than were asked."""
    silent = Record(1.0, 1.0, 1.3, 1, prompt_tokens=1024, output_tokens=1, digest="text:a")
    found = figures([silent], Objectives(ttft=0.5))
    assert found.ttft is not None
    assert found.ttft.p50 == pytest.approx(0.3)
    assert found.prefill_rate == pytest.approx(1024 / 0.3)
    assert found.good_share == 1.0
    assert figures([replace(silent, output_tokens=0)], Objectives()).ttft is None


def test_percentiles_are_linear_between_neighbours() -> None:
    found = spread([4.0, 1.0, 3.0, 2.0])
    assert found is not None
    assert found.p50 == pytest.approx(2.5)
    assert found.p90 == pytest.approx(3.7)
    assert found.p99 == pytest.approx(3.97)
    assert found.most == 4.0
    assert spread([]) is None


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
@settings(max_examples=40)
def test_percentiles_rise_within_the_values(values: list[float]) -> None:
    found = spread(values)
    assert found is not None
    rising = [min(values), found.p50, found.p90, found.p95, found.p99, max(values)]
    tolerance = 1e-9 * max(values)
    assert all(low <= high + tolerance for low, high in pairwise(rising))


@given(st.lists(st.floats(0, 1e3), min_size=2, max_size=60), st.sampled_from([50, 90, 95, 99]))
@settings(max_examples=40)
def test_percentiles_agree_with_their_definition(values: list[float], share: int) -> None:
    found = spread(values)
    assert found is not None
    ordered = sorted(values)
    place = (len(ordered) - 1) * share / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    wanted = ordered[low] + (ordered[high] - ordered[low]) * (place - low)
    assert getattr(found, f"p{share}") == pytest.approx(wanted, abs=1e-6)


def test_goodput_counts_requests_that_keep_both() -> None:
    records = [
        record(first=0.1, gap=0.01),
        record(first=0.9, gap=0.01),
        record(first=0.1, gap=0.09),
        record(failure="timeout"),
    ]
    found = figures(records, Objectives(0.5, 0.05))
    assert found.good_share == 0.25
    assert found.goodput == pytest.approx(1 / found.seconds)
    only_ttft = figures(records, Objectives(ttft=0.5))
    assert only_ttft.good_share == 0.5


def test_an_answer_of_one_token_has_no_tpot_and_may_be_good() -> None:
    found = figures([record(tokens=1)], Objectives(0.5, 0.001))
    assert found.tpot is None
    assert found.itl is None
    assert found.good_share == 1.0


def test_failures_are_counted_by_kind_and_nothing_else() -> None:
    broken = [record(failure="http 429"), record(failure="http 429"), record(failure="timeout")]
    found = figures([record(), *broken], Objectives())
    assert found.failures == {"http 429": 2, "timeout": 1}
    assert found.failed == 3
    assert found.requests == 4
    assert found.output_tokens == 11
    assert found.request_rate == pytest.approx(1 / found.seconds)


def test_nothing_but_failures() -> None:
    dead = Record(0.0, 0.0, 0.0, 10, failure="connection", reason="refused")
    found = figures([dead], Objectives(1.0))
    assert found.ttft is None
    assert found.output_rate == 0.0
    assert found.goodput == 0.0
    assert figures([], Objectives()).requests == 0


@given(st.randoms(use_true_random=False))
@settings(max_examples=15)
def test_the_order_of_records_does_not_matter(chance: random.Random) -> None:
    records = [record(due=i * 0.1, first=0.05 * (i % 7 + 1), gap=0.001 * (i + 1)) for i in range(9)]
    mixed = list(records)
    chance.shuffle(mixed)
    found, wanted = figures(mixed, Objectives(0.2)), figures(records, Objectives(0.2))
    assert found.ttft == wanted.ttft
    assert found.goodput == wanted.goodput
    assert found.output_rate == wanted.output_rate


@pytest.mark.parametrize(
    ("client", "word"),
    [
        (ClientFigures(0.5, 0.0, 0.1), "late"),
        (ClientFigures(0.0, 0.5, 0.1), "woken"),
        (ClientFigures(0.0, 0.0, 0.95), "95%"),
        (ClientFigures(0.001, 0.002, 0.3), ""),
    ],
)
def test_a_client_that_cannot_keep_up_says_so(client: ClientFigures, word: str) -> None:
    assert word in client.trouble
    assert bool(client.trouble) == bool(word)

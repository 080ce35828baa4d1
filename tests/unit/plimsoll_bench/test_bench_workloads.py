"""The workloads are those that published figures are of."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_bench.load import Arrivals, Load, Piece, Request
from plimsoll_bench.token_ids import TokenRange, splitmix64, token_ids
from plimsoll_bench.workloads import (
    UnknownWorkloadError,
    mixed_lengths,
    poisson,
    poisson_times,
    workload,
)


def test_splitmix_is_that_of_the_paper() -> None:
    # The state after seeding is 1 step before that of a generator seeded with 0 + the offset, so
    # the reference's first output for the state 1234567 is reached by the seed that maps there.
    golden, offset, size = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 2**64
    seed = (1234567 - offset) * pow(golden, -1, size) % size
    numbers = splitmix64(seed)
    assert [next(numbers) for _ in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@pytest.mark.parametrize(
    ("name", "requests", "prompts", "outputs"),
    [
        ("W1", 1, 128, 128),
        ("W2", 1, 1024, 1),
        ("W3", 32, 7195, 4757),
        ("W4", 32, 32 * 544, 32 * 32),
    ],
)
def test_sizes(name: str, requests: int, prompts: int, outputs: int) -> None:
    load = workload(name, 1)
    assert len(load.requests) == requests
    assert sum(each.prompt_tokens for each in load.requests) == prompts
    assert sum(each.output_tokens for each in load.requests) == outputs
    assert all(each.at == 0.0 for each in load.requests)


def test_the_mix_begins_as_published() -> None:
    assert mixed_lengths(33, 4) == [(415, 224), (142, 136), (457, 203), (106, 101)]


def test_poisson_times_are_those_published() -> None:
    times = [each.at for each in workload("W5r1", 1).requests]
    assert times[:6] == [0.0689, 0.5116, 1.1818, 2.1102, 3.8884, 4.577]
    assert times == sorted(times)
    assert times[-1] < 60


def test_seeds_follow_the_rule() -> None:
    assert workload("W1", 2).requests[0].prompt == (Piece(1_020_000, 128),)
    assert workload("W3", 1).requests[5].prompt[0].seed == 3_010_005
    fourth = workload("W4", 3).requests[7].prompt
    assert fourth == (Piece(4_039_999, 512), Piece(4_030_007, 32))
    assert workload("W5r2", 1).requests[0].prompt[0].seed == 6_010_000


def test_token_ids_are_those_published() -> None:
    found = workload("W1", 1).requests[0].token_ids(TokenRange())
    assert found[:4] == PUBLISHED_W1


PUBLISHED_W1 = [2867, 9684, 8558, 10240]


@pytest.mark.parametrize("name", ["W9", "W5", "w1", "W5r", "W5r-1", "W5r0", ""])
def test_unknown_workloads_are_refused(name: str) -> None:
    with pytest.raises(UnknownWorkloadError):
        workload(name, 1)


def test_repetitions_have_equal_specs_and_other_tokens() -> None:
    for name in ("W1", "W2", "W3", "W4", "W5r2"):
        first, second = workload(name, 1), workload(name, 2)
        assert first.spec == second.spec
        within = TokenRange()
        assert first.requests[0].token_ids(within) != second.requests[0].token_ids(within)


def test_specs_tell_loads_apart() -> None:
    one = Load("a", (Request(0.0, (Piece(1, 8),), 4), Request(0.0, (Piece(1, 8),), 4)))
    apart = Load("a", (Request(0.0, (Piece(1, 8),), 4), Request(0.0, (Piece(2, 8),), 4)))
    later = Load("a", (Request(0.0, (Piece(1, 8),), 4), Request(0.5, (Piece(1, 8),), 4)))
    longer = Load("a", (Request(0.0, (Piece(1, 8),), 4), Request(0.0, (Piece(1, 8),), 5)))
    closed = Load("a", one.requests, Arrivals.CLOSED, 2)
    assert len({each.spec for each in (one, apart, later, longer, closed)}) == 5
    assert one.spec == Load("b", one.requests).spec


@given(st.integers(0, 2**63), st.integers(0, 50), st.integers(1, 2**20), st.integers(1, 2**20))
@settings(max_examples=30)
def test_ids_are_in_range_and_a_prefix_of_more(seed: int, count: int, low: int, size: int) -> None:
    within = TokenRange(low, low + size)
    found = token_ids(seed, count, within)
    assert len(found) == count
    assert all(within.low <= each < within.high for each in found)
    assert token_ids(seed, count + 3, within)[:count] == found


@given(st.floats(0.1, 1000), st.integers(1, 200))
@settings(max_examples=20)
def test_poisson_counts(rate: float, count: int) -> None:
    assert len(poisson_times(3, rate, count=count)) == count
    load = poisson(rate, 1, count)
    assert len(load.requests) == count
    assert load.rate == rate


def test_poisson_gaps_are_exponential() -> None:
    times = poisson_times(11, 4.0, count=20_000)
    gaps = [b - a for a, b in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert mean == pytest.approx(0.25, rel=0.03)
    assert variance / mean**2 == pytest.approx(1.0, rel=0.06)

"""What of a recorded trace comes to the replicas that are simulated."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.recorded_trace import RecordedTrace
from plimsoll_planner.simulation.replay import Bounds, fleet_for, replay
from plimsoll_planner.simulation.trace import cached_share, fullest

ALL = Bounds(10**6, 10**6, 0)
TRACE = tuple(
    Arrival(at * 0.5, 100 + at, 10, (0, at)) for at in (0, 1, 2, 10, 11, 12, 13, 30, 31, 50)
)


def measured(trace: tuple[Arrival, ...], fleet: int, rate: float, bounds: Bounds) -> list[Arrival]:
    found = replay(trace, fleet, rate, bounds)
    return list(found.arrivals[found.skip : found.skip + found.count])


def test_all_replicas_get_the_whole_trace_as_it_was() -> None:
    rate = (len(TRACE) - 1) / TRACE[-1].at
    for fleet in (1, 2, 7):
        found = measured(TRACE, fleet, rate / fleet, ALL)
        assert [each[1:] for each in found] == [each[1:] for each in TRACE]
        begin = found[0].at
        assert [each.at - begin for each in found] == pytest.approx([each.at for each in TRACE])


def test_another_rate_stretches_its_time() -> None:
    rate = 2 * (len(TRACE) - 1) / TRACE[-1].at
    found = measured(TRACE, 1, rate, ALL)
    assert found[-1].at - found[0].at == pytest.approx(TRACE[-1].at / 2)


def test_before_its_beginning_comes_its_end_with_contents_of_its_own() -> None:
    found = replay(TRACE, 1, 1.0, ALL)
    before = found.arrivals[: found.skip]
    assert [each.prompt_tokens for each in before] == [130, 131, 150]
    seen = {prefix_id for each in TRACE for prefix_id in each.prefix_ids}
    assert not seen.intersection(before[0].prefix_ids)
    assert found.arrivals[0].at == 0.0


def test_of_a_large_fleet_some_replicas_are_taken() -> None:
    trace = tuple(Arrival(float(at), 10, 10) for at in range(2000))
    found = replay(trace, 10, 0.1, Bounds(500, 10**6, 0))
    assert found.replicas == 3
    assert 500 < found.count < 700
    again = replay(trace, 10, 0.1, Bounds(500, 10**6, 0))
    assert again == found


def test_what_is_too_much_is_cut_to_its_fullest_part() -> None:
    assert [each.prompt_tokens for each in measured(TRACE, 1, 1.0, Bounds(1, 4, 0))] == [
        110,
        111,
        112,
        113,
    ]
    assert [each.at for each in fullest(TRACE, 4)] == [0.0, 0.5, 1.0, 1.5]
    assert fullest(TRACE, 99) == TRACE


@pytest.mark.parametrize(("declared", "rate", "fleet"), [(8, 2, 4), (8, 16, 1), (7, 2, 4)])
def test_as_many_replicas_as_share_the_load(declared: float, rate: float, fleet: int) -> None:
    assert fleet_for(declared, rate) == fleet


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(0, 1e5), min_size=2, max_size=40).filter(lambda at: max(at) > min(at)),
    st.integers(1, 6),
    st.floats(0.01, 100),
    st.integers(1, 50),
    st.integers(1, 50),
)
def test_times_rise_and_nothing_is_missing(
    times: list[float], fleet: int, rate: float, enough: int, most: int
) -> None:
    trace = tuple(Arrival(at, 10, 5) for at in sorted(times))
    found = replay(trace, fleet, rate, Bounds(enough, most, 0))
    assert 1 <= found.replicas <= fleet
    assert 1 <= found.count <= most
    assert len(found.arrivals) >= found.skip + found.count
    assert all(one.at <= other.at for one, other in pairwise(found.arrivals))


def test_the_hash_is_of_the_requests_alone() -> None:
    made = RecordedTrace.of(TRACE)
    assert made == RecordedTrace.of(list(TRACE)) == made.without_arrivals()
    assert made.without_arrivals().arrivals == ()
    for index, each in enumerate(TRACE[0]):
        changed = [*TRACE[0]]
        changed[index] = (1,) if index == 3 else "x" if index == 4 else int(each) + 1
        assert RecordedTrace.of((Arrival(*changed), *TRACE[1:])).digest != made.digest


def test_the_share_that_a_cache_can_find() -> None:
    trace = [Arrival(0, 1000, 1, (1, 2)), Arrival(1, 600, 1, (1, 2)), Arrival(2, 700, 1, (3, 2))]
    assert cached_share(trace) == pytest.approx(600 / 2300)
    assert cached_share([Arrival(0, 5, 5)]) == 0.0

"""What is kept of a rehearsal, and how it is written down."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.measured.probes import plain_samples, samples_of
from e2e.measured.rehearsal import LOADS, Rehearsed, parts, rates, thinned
from e2e.measured.traffic import TRACES
from e2e.measured.work import Work
from plimsoll_planner.calibration.fit import Sample
from plimsoll_planner.simulation.arrival import Arrival


@given(st.integers(0, 60), st.integers(1, 50))
def test_few_are_kept_all_and_many_evenly(count: int, most: int) -> None:
    samples = [Sample(number + 1, 1, number + 1, 0.1) for number in range(count)]
    kept = thinned(samples, most)
    assert len(kept) == min(count, most)
    places = [sample.tokens for sample in kept]
    gaps = [later - sooner for sooner, later in pairwise(places)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_samples_are_read_as_they_were_written() -> None:
    samples = (Sample(3, 2, 40, 0.25, 51), Sample(1, 1, 9, 0.5, 9))
    assert samples_of(plain_samples(samples)) == samples
    (guessed,) = samples_of(plain_samples([Sample(4, 1, 4, 0.5)]))
    assert guessed.pairs == Sample(4, 1, 4, 0.5).pairs == 10


def test_a_rehearsal_has_every_load() -> None:
    (trace, _) = TRACES
    later = trace.arrivals(90, 1024, skip=300)
    found = parts(later, rates(knee=10.0))
    assert [each.prompt_tokens for part in found for each in part] == [
        each.prompt_tokens for each in later
    ]
    seen = [len(part) / (part[-1].at - part[0].at) for part in found]
    assert seen == sorted(seen)
    assert seen[-1] / seen[0] == pytest.approx(LOADS[-1] / LOADS[0], rel=0.1)


def test_a_rehearsal_is_read_as_it_was_written() -> None:
    work = (Work(2, 30, 5, 9, 10, 1.5, 0.01, 0.005),)
    found = Rehearsed((Sample(3, 2, 40, 0.25, 51),), (4.0,), ((0.1, 0.2),), work)
    assert Rehearsed.of(found.plain()) == found
    assert Rehearsed.of({"rehearsed": found.plain()["rehearsed"]}) == Rehearsed(found.samples)
    arrivals = [Arrival(0.0, 8, 2), Arrival(2.0, 9, 3)]
    (seen,) = found.seen(arrivals)
    assert seen.ttft == (0.1, 0.2)
    assert [each.at for each in seen.arrivals] == [0.0, 0.25]
    assert Rehearsed(found.samples).seen(arrivals) == []


def test_a_rehearsal_sends_none_of_what_is_measured() -> None:
    for trace in TRACES:
        both = trace.arrivals(450, 1024)
        assert trace.arrivals(150, 1024, skip=300) == both[300:]
        assert len(both) == 450

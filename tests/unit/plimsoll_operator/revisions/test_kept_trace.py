"""A trace in the record of a plan is the trace that it was planned for."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.revisions import kept_trace
from plimsoll_operator.revisions.kept_trace import pack_trace, unpack_trace
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.recorded_trace import RecordedTrace

GAPS = st.lists(
    st.tuples(st.integers(0, 10**9), st.integers(1, 9999), st.integers(1, 99), st.booleans()),
    min_size=1,
    max_size=30,
)


@settings(max_examples=25, deadline=None)
@given(GAPS)
def test_it_comes_back_as_it_was(gaps: list[tuple[int, int, int, bool]]) -> None:
    at, arrivals = 0, []
    for gap, prompt, output, old in gaps:
        ids = (0,) if old and arrivals else ()
        tenant, priority = ("é", -3) if old else ("", 0)
        arrivals.append(Arrival(at / 1e6, prompt, output, ids, tenant, priority))
        at += gap
    trace = RecordedTrace.of(arrivals)
    back = unpack_trace(json.loads(json.dumps(pack_trace(trace))))
    assert back == trace
    assert back.arrivals == trace.arrivals


def test_of_a_large_one_the_hash_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_trace, "MAX_PACKED_BYTES", 10)
    kept = pack_trace(RecordedTrace.of([Arrival(0, 1, 1)]))
    assert list(kept) == ["hash"]
    with pytest.raises(ValueError, match="larger than 10 bytes and was not kept"):
        unpack_trace(kept)


@pytest.mark.parametrize("change", [{"requests": "?"}, {"requests": "AAAA"}, {"hash": "0"}])
def test_what_was_changed_is_not_believed(change: dict[str, str]) -> None:
    kept = pack_trace(RecordedTrace.of([Arrival(0, 1, 1)]))
    with pytest.raises(ValueError, match="the trace that was kept"):
        unpack_trace({**kept, **change})

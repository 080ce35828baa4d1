"""Whose turn it is, what is kept of it, and what the trace becomes."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e.peers import trace
from e2e.peers.__main__ import _counts, _current
from e2e.peers.engine import Engine, Precision, Start
from e2e.peers.knee import BELOW, Knees
from e2e.peers.measurement import Measurement, Sitting, Turn
from e2e.peers.options import engines
from e2e.peers.ours import kinds
from e2e.peers.runner import Work
from e2e.peers.turns import next_turn, turns
from plimsoll_bench.wanted import Trace
from plimsoll_planner.simulation.arrival import Arrival
from tests.unit.plimsoll_bench.bench_samples import record, result, run


def test_every_engine_has_a_turn_in_each_round_and_begins_one() -> None:
    found = list(turns(3, ["m", "n"], ["a", "b", "c"]))
    assert len(found) == len(set(found)) == 18
    assert [each.round for each in found] == sorted(each.round for each in found)
    assert [each.engine for each in found if each.model == "m"] == list("abcbcacab")


def test_a_turn_that_does_not_fit_waits_and_keeps_the_next_round_waiting() -> None:
    left = list(turns(2, ["m"], ["slow", "fast"]))
    took = {("m", "slow"): 100.0, ("m", "fast"): 10.0}
    assert next_turn(left, {}, 1.0) == left[0]
    assert next_turn(left, took, 200.0) == left[0]
    assert next_turn(left, took, 50.0) == Turn(1, "m", "fast")
    del left[1]
    assert next_turn(left, took, 50.0) is None
    assert next_turn(left, took, 0.0) is None
    assert next_turn([], took, 50.0) is None


def test_a_sitting_gives_back_what_it_was_given(tmp_path: Path) -> None:
    sitting = Sitting("s", tmp_path)
    assert sitting.kept() == []
    found = [
        Measurement(
            Turn(number, "0.5b", "a-b"),
            "1",
            Precision.INT8,
            "note",
            "c0ffee",
            "2026-01-01T00:00:00Z",
            3.0,
            result=result("a-b", [run([record()], repetition=number)]),
        )
        for number in (10, 2)
    ]
    for each in found:
        sitting.keep(each)
    sitting.keep(found[0])
    Knees(sitting.folder).keep("0.5b", {"a-b": 2.0}, 1.0)
    assert sitting.kept() == found[::-1]
    assert Knees(sitting.folder).rate("0.5b") == pytest.approx(BELOW)
    assert Knees(sitting.folder).rate("other") is None
    (sitting.folder / "003-m-e.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="003-m-e"):
        sitting.kept()


def test_an_engine_is_sent_what_it_takes_and_lacks() -> None:
    def start(*_: object) -> Start:
        raise NotImplementedError

    everything, few = Engine("e", "1", start), Engine("f", "1", start, only=("W1",))
    recorded = Trace("trace at 1/s", [Arrival(0.0, 8, 2)])
    work = Work(("W1", "W3"), {"m": recorded})
    assert work.names(everything, "m") == {"W1", "W3", "trace at 1/s"}
    assert work.names(everything, "other") == {"W1", "W3"}
    assert work.names(few, "m") == {"W1"}
    (left,) = work.of(everything, "m", {"W1", "trace at 1/s"})
    assert left.workloads == ("W3",)
    assert work.of(few, "m", {"W1"}) == []


def test_peers_are_named_with_what_they_are_sent(capsys: pytest.CaptureFixture[str]) -> None:
    found = engines("vllm,llama.cpp=W1+W2")
    assert list(found) == ["vllm", "llama.cpp"]
    assert found["llama.cpp"].runs("W2")
    assert not found["llama.cpp"].runs("W3")
    assert found["vllm"].runs("W3")
    with pytest.raises(SystemExit, match="no engine is called x"):
        engines("x")


def test_kinds_of_quantization_are_those_that_the_help_names() -> None:
    usage = "[--dtype {auto,b}] [--quantization\n      {none,int8,int8-weight-only}] [--x {y}]"
    assert kinds(usage) == {"none", "int8", "int8-weight-only"}
    assert kinds("[--dtype {auto,int8}]") == set()


def test_ours_counts_only_while_our_sources_are_the_same() -> None:
    def made(engine: str, commit: str, ended: str, error: str = "") -> Measurement:
        turn = Turn(1, "135m", engine)
        return Measurement(turn, "1", Precision.BF16, "", commit, ended, 1.0, error=error)

    old, new, other = made("ours", "a", "1"), made("ours", "b", "2"), made("vllm", "a", "1")
    assert _current([old, other, new]) == [other, new]
    assert _current([other]) == [other]
    assert _counts(new, new.turn, "b")
    assert not _counts(new, new.turn, "c")
    assert _counts(other, other.turn, "c")
    assert not _counts(made("vllm", "a", "1", error="x"), other.turn, "a")
    assert not _counts(None, other.turn, "a")


ARRIVALS = [Arrival(7.0 + 0.1 * number, 10 + number, 5) for number in range(600)]


@given(st.floats(0.05, 9.0), st.floats(0.1, 0.9))
@settings(max_examples=30)
def test_a_thinned_trace_keeps_times_and_what_lower_rates_keep(rate: float, share: float) -> None:
    found = trace.thinned(ARRIVALS, rate, 50.0)
    assert len(found) == max(1, round(rate * 50.0))
    assert all(later.at > sooner.at for sooner, later in pairwise(found))
    known = {(each.prompt_tokens, round(each.at + 7.0, 6)) for each in found}
    assert known <= {(each.prompt_tokens, round(each.at, 6)) for each in ARRIVALS}
    assert set(trace.thinned(ARRIVALS, share * rate, 50.0)) <= set(found)


def test_a_trace_cannot_be_thinned_to_more_than_it_has() -> None:
    with pytest.raises(ValueError, match="take a lower rate"):
        trace.thinned(ARRIVALS, 11.0, 50.0)
    load = trace.at_rate([Arrival(0.0, 9000, 50), Arrival(1.0, 3, 4)], 1.0, 2.0)
    assert load.name == "trace at 1/s"
    assert max(each.prompt_tokens + each.output_tokens for each in load.requests) <= trace.CONTEXT

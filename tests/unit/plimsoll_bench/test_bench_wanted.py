"""From what is asked for to loads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_bench.load import Arrivals
from plimsoll_bench.token_ids import TokenRange
from plimsoll_bench.traffic import closed, cut, trace_load
from plimsoll_bench.wanted import Trace, Wanted, WantedError
from plimsoll_bench.workloads import workload
from plimsoll_planner.simulation.arrival import Arrival

TRACE = Trace(
    "recorded",
    (
        Arrival(0.0, 700, 20, (0, 1)),
        Arrival(1.0, 1200, 30, (0, 2, 3)),
        Arrival(4.0, 100, 5),
    ),
)


def test_a_traces_own_times_and_shared_prefixes() -> None:
    ((_, load),) = Wanted(("recorded",), TRACE, repetitions=1).loads()
    assert [each.at for each in load.requests] == [0.0, 1.0, 4.0]
    assert [each.prompt_tokens for each in load.requests] == [700, 1200, 100]
    first, second, third = (each.token_ids(TokenRange()) for each in load.requests)
    assert first[:512] == second[:512]
    assert first[512:520] != second[512:520]
    assert third[:8] != first[:8]
    assert load.arrivals is Arrivals.TRACE


def test_rate_and_scale_stretch_a_trace() -> None:
    ((_, stretched),) = Wanted(("recorded",), TRACE, rate=2.0, repetitions=1).loads()
    assert [each.at for each in stretched.requests] == [0.0, 0.25, 1.0]
    assert stretched.name == "recorded at 2/s"
    ((_, scaled),) = Wanted(("recorded",), TRACE, scale=2.0, repetitions=1).loads()
    assert [each.at for each in scaled.requests] == [0.0, 0.5, 2.0]


def test_a_closed_loop_has_places_and_no_times() -> None:
    wanted = Wanted(("W3",), arrivals=Arrivals.CLOSED, concurrency=4, repetitions=1)
    ((_, load),) = wanted.loads()
    assert load.concurrency == 4
    assert load.name == "W3 4 at once"
    assert {each.at for each in load.requests} == {0.0}
    ((_, mixed),) = Wanted(
        ("W5",), arrivals=Arrivals.CLOSED, concurrency=2, requests=9, repetitions=1
    ).loads()
    assert len(mixed.requests) == 9


def test_poisson_over_a_traces_lengths() -> None:
    ((_, load),) = Wanted(("recorded",), TRACE, Arrivals.POISSON, rate=5.0, repetitions=1).loads()
    assert load.arrivals is Arrivals.POISSON
    assert [each.prompt_tokens for each in load.requests] == [700, 1200, 100]
    assert load.requests[2].at != pytest.approx(4.0)
    ((_, own),) = Wanted(("recorded",), TRACE, Arrivals.POISSON, repetitions=1).loads()
    assert own.rate == pytest.approx(0.5)


def test_workloads_and_repetitions() -> None:
    wanted = Wanted(("W1", "W4"), repetitions=2, first_repetition=4)
    found = [(load.name, number) for number, load in wanted.loads()]
    assert found == [("W1", 4), ("W1", 5), ("W4", 4), ("W4", 5)]
    (_, load), *_ = wanted.loads()
    assert load.requests[0].prompt[0].seed == 1_040_000


def test_points_of_a_ramp_have_new_tokens() -> None:
    wanted = Wanted(("W5",), requests=30)
    first, second = wanted.at_rate(2.0, 9.0, 1), wanted.at_rate(3.0, 9.0, 2)
    assert len(first.requests) == len(second.requests) == 30
    assert len(Wanted(("W5",)).at_rate(20.0, 9.0, 1).requests) == 180
    # Fewer would have been sent before a queue shows, at any rate.
    assert len(wanted.at_rate(20.0, 9.0, 1).requests) == 180
    assert second.requests[-1].at < first.requests[-1].at
    tokens = TokenRange()
    assert first.requests[0].token_ids(tokens) != second.requests[0].token_ids(tokens)
    trace = Wanted(("recorded",), TRACE)
    assert trace.at_rate(1.0, 9.0, 1).requests[-1].at == pytest.approx(2.0)
    assert trace.at_rate(1.0, 9.0, 1).rate == 1.0


@pytest.mark.parametrize(
    ("wanted", "word"),
    [
        (Wanted(("W1",), concurrency=3), "--concurrency"),
        (Wanted(("W1",), arrivals=Arrivals.CLOSED), "--concurrency"),
        (Wanted(("W1",), rate=2.0), "own times"),
        (Wanted(("W1",), scale=2.0), "--trace"),
        (Wanted(("W1",), arrivals=Arrivals.TRACE), "--trace"),
        (Wanted(("W3",), arrivals=Arrivals.POISSON), "--rate"),
        (Wanted(("W5",)), "--rate"),
        (Wanted(("recorded",), TRACE, rate=1.0, scale=2.0), "one of them"),
        (Wanted(("W3",), arrivals=Arrivals.CLOSED, concurrency=2, rate=1.0), "no rate"),
        (Wanted(("nothing",)), "W1"),
        (Wanted(("recorded",), Trace("recorded", TRACE.requests[:1]), rate=2.0), "no rate"),
    ],
)
def test_what_does_not_go_together_is_refused(wanted: Wanted, word: str) -> None:
    with pytest.raises(WantedError, match=word):
        list(wanted.loads())


@pytest.mark.parametrize(
    "wanted", [Wanted(("W1",)), Wanted(("W5", "W1")), Wanted(("W5",), None, Arrivals.CLOSED)]
)
def test_a_ramp_takes_one_work_with_a_rate(wanted: Wanted) -> None:
    with pytest.raises(WantedError, match="--ramp"):
        wanted.at_rate(1.0, 9.0, 1)


@given(
    st.lists(
        st.builds(
            Arrival,
            st.floats(0, 100),
            st.integers(1, 5000),
            st.integers(1, 500),
            st.lists(st.integers(0, 5), max_size=10).map(tuple),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 64),
    st.integers(8, 4096),
)
@settings(max_examples=40)
def test_a_cut_trace_fits_and_prompts_are_as_long_as_told(
    trace: list[Arrival], divisor: int, context: int
) -> None:
    shorter = cut(trace, divisor, context)
    load = trace_load("t", shorter, 1)
    for arrival, request in zip(shorter, load.requests, strict=True):
        assert request.prompt_tokens == arrival.prompt_tokens >= 1
        assert request.output_tokens >= 1
        assert request.prompt_tokens + request.output_tokens <= context


def test_closing_keeps_the_work() -> None:
    load = workload("W5r2", 1)
    looped = closed(load, 3)
    assert [r.prompt for r in looped.requests] == [r.prompt for r in load.requests]
    assert looped.spec != load.spec

"""Trials that are simulated only as far as is asked of them."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plimsoll_planner.inputs import Lengths, Objectives, PlanRequest, Workload
from plimsoll_planner.performance.frontend_time import FrontendTime
from plimsoll_planner.performance.step_time import StepTime
from plimsoll_planner.planner import plan
from plimsoll_planner.search.options import Option
from plimsoll_planner.search.partial_trial import Attempt, Least, Measured, alone
from plimsoll_planner.search.search import search
from plimsoll_planner.search.trial import Trials
from plimsoll_planner.simulation.arrival import Arrival
from tests.unit.plimsoll_planner.models import CPU_NODE, L4_NODES, LLAMA_31_8B, TINY, request_for

LENGTH = 1024
WORKLOAD = Workload(4.0, Lengths(200, 600), Lengths(30, 90))
OPTIONS: list[Option] = [
    bid.option
    for model, pool in ((TINY, CPU_NODE), (LLAMA_31_8B, L4_NODES))
    for bid in search(replace(request_for(model, pool, context=LENGTH), workload=WORKLOAD)).bids
]
FEW = 60
promises = st.none() | st.floats(1e-4, 3.0)


def attempt(option: Option, rate: float) -> Attempt:
    return Trials(FEW).attempt(WORKLOAD, LENGTH, option, rate)


@given(
    st.sampled_from(OPTIONS),
    st.sampled_from((0.2, 1.0, 3.0, 9.0)),
    st.lists(st.builds(Objectives, promises, promises), min_size=1, max_size=3),
)
@settings(max_examples=25, deadline=None)
def test_answers_are_those_of_a_whole_simulation(
    option: Option, rate: float, asked: list[Objectives]
) -> None:
    whole, tried = attempt(option, rate).measured, attempt(option, rate)
    for promised in asked:
        assert tried.keeps(promised) == whole.keeps(promised)
        least = tried.at_least()
        assert least.ttft_p95 <= whole.ttft_p95
        assert least.tpot_p95 <= whole.tpot_p95
    assert tried.measured == whole


@given(st.sampled_from(OPTIONS), st.sampled_from((0.2, 3.0)))
@settings(max_examples=10, deadline=None)
def test_no_request_is_faster_than_alone(option: Option, rate: float) -> None:
    least, whole = attempt(option, rate).at_least(), attempt(option, rate).measured
    assert 0 < least.ttft_p95 <= whole.ttft_p95
    assert 0 < least.tpot_p95 <= whole.tpot_p95


@given(
    st.sampled_from(OPTIONS),
    st.sampled_from((0.2, 3.0)),
    st.tuples(*[st.floats(0, 0.03)] * 5).map(
        lambda found: FrontendTime(found[0], found[1] / 100, *found[2:], end=0.0, latency=0.0)
    ),
)
@settings(max_examples=10, deadline=None)
def test_no_request_behind_a_frontend_is_faster_than_alone(
    option: Option, rate: float, time: FrontendTime
) -> None:
    assert isinstance(option.engine.step, StepTime)
    step = replace(option.engine.step, frontend=time)
    behind = replace(option, engine=replace(option.engine, step=step))
    least, whole = attempt(behind, rate).at_least(), attempt(behind, rate).measured
    assert 0 < least.ttft_p95 <= whole.ttft_p95
    assert least.tpot_p95 <= whole.tpot_p95
    if time.request > 1e-3:
        assert whole.ttft_p50 > time.request


def untouched() -> Iterator[list[object]]:
    raise AssertionError("nothing was to be simulated")
    yield []


def never(_: object) -> Measured:
    raise AssertionError("nothing was to be simulated")


def test_what_no_replica_alone_keeps_is_not_simulated() -> None:
    tried = Attempt(1.0, 100, Least(0.5, 0.05), untouched(), never)  # type: ignore[arg-type]
    assert not tried.keeps(Objectives(ttft_p95=0.5))
    assert not tried.keeps(Objectives(tpot_p95=0.05))
    assert tried.at_least() == Least(0.5, 0.05)
    with pytest.raises(AssertionError, match="nothing was to be"):
        tried.keeps(Objectives(ttft_p95=0.6))


def test_a_trial_ends_when_too_many_were_late() -> None:
    option = OPTIONS[0]
    tried, whole = (Trials(400).attempt(WORKLOAD, LENGTH, option, 100.0) for _ in range(2))
    late = Objectives(ttft_p95=0.2)
    assert not whole.measured.keeps(late)
    assert not tried.keeps(late)
    assert len(tried._ttft) < 100 < len(whole._ttft)
    assert tried.measured == whole.measured


def test_of_other_step_times_nothing_is_known_beforehand() -> None:
    step, requests = OPTIONS[0].engine.step, [Arrival(0.0, 100, 10)]
    assert isinstance(step, StepTime)
    assert alone(step, requests).ttft_p95 > 0
    for other in (
        replace(step, per_pair=2 * step.per_context),
        replace(step, per_window_context=1e-9, window=64.0),
    ):
        assert alone(other, requests) == Least()
    assert alone(step, []) == Least()
    assert alone(step, [Arrival(0.0, 100, 1)]).tpot_p95 == 0


@given(
    ttft=st.floats(0.002, 0.3),
    tpot=st.floats(0.0005, 0.05),
    rate=st.sampled_from((0.5, 5.0, 40.0)),
    most=st.integers(1, 3),
)
@settings(max_examples=8, deadline=None)
def test_plans_are_those_of_whole_simulations(
    ttft: float, tpot: float, rate: float, most: int
) -> None:
    asked = request_for(
        TINY, CPU_NODE, rate=rate, ttft=ttft, tpot=tpot, max_replicas=most, context=LENGTH
    )
    lazy = plan(asked, FEW)
    assume(lazy.plan is not None)
    assert exhaustive(asked) == lazy


def exhaustive(asked: PlanRequest) -> object:
    """The plan where every trial is simulated to its end."""

    def keeps(tried: Attempt, promised: Objectives) -> bool:
        return tried.measured.keeps(promised)

    def at_least(_: Attempt) -> Least:
        return Least()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Attempt, "keeps", keeps)
        patch.setattr(Attempt, "at_least", at_least)
        return plan(asked, FEW)

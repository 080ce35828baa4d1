"""Drift is told once it is there, with what to edit, and chance neither tells nor untells it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.api.planned_trace import PlannedTrace
from plimsoll_operator.api.status import PercentileValue, PlanStatus, Predicted
from plimsoll_operator.plans.choice import Standing
from plimsoll_operator.plans.drift import NO_NEWS, Drift, drift
from plimsoll_operator.resource import Resource
from plimsoll_operator.scaling.measurement import Figures
from plimsoll_operator.status.inputs import Situation
from plimsoll_operator.status.new_status import new_status
from tests.unit.plimsoll_operator.samples import LATER, NOW, cpu_plan, resource

PLAN = cpu_plan(
    replicas=2,
    predicted=Predicted(
        time_to_first_token=PercentileValue(p95="200ms", low="110ms", high="300ms"),
        time_per_output_token=PercentileValue(p95="20.0ms", low="15.0ms", high="30.0ms"),
        requests_per_second_per_replica="2",
    ),
)
WORKLOAD = {
    "requestsPerSecond": "3",
    "promptTokens": {"mean": 500, "p95": 1500},
    "outputTokens": {"mean": 200, "p95": 500},
}
SPEC = {
    "workload": WORKLOAD,
    "slo": {"timeToFirstToken": {"p95": "800ms"}, "timePerOutputToken": {"p95": "50ms"}},
}
AS_DECLARED = Figures(2700, 900, 3.0, 500, 200, 0.2, 0.02)


def chat(**changes: Any) -> Resource:
    return resource(spec=SPEC, **changes)


def look(before: Resource, figures: Figures | None, *, settled: bool = True) -> Drift:
    return drift(before, PLAN, figures, settled=settled)


def told(before: Resource, news: Drift, plan: PlanStatus = PLAN, now: str = NOW) -> Resource:
    """The resource with a status that says the news."""
    situation = Situation(standing=Standing(plan=plan, inputs="a"), drift=news)
    return replace(before, status=new_status(before, situation, now))


def test_as_declared_is_as_planned() -> None:
    news = look(chat(), AS_DECLARED)
    assert news.finding is not None
    assert (news.finding.status, news.finding.reason) == (False, "AsPlanned")
    assert news.observed is not None
    assert news.observed.prompt_tokens == 500
    assert news.observed.time_to_first_token.p95 == "200ms"


@pytest.mark.parametrize(
    ("change", "reason", "parts"),
    [
        (
            {"requests_per_second": 6.0},
            "TrafficDiffers",
            ["6 requests/s arrived", "2 × 2 sustain 4", 'workload.requestsPerSecond: "6"'],
        ),
        (
            {"prompt_tokens": 812.4},
            "TrafficDiffers",
            ["812 tokens on average, planned were 500", "workload.promptTokens.mean: 812"],
        ),
        ({"output_tokens": 99}, "TrafficDiffers", ["workload.outputTokens.mean: 99"]),
        (
            {"ttft_p95": 0.45},
            "SlowerThanPredicted",
            ["TTFT p95 was 450ms, predicted 200ms, at most 300ms", "plimsoll calibrate"],
        ),
        ({"tpot_p95": 0.04}, "SlowerThanPredicted", ["TPOT p95 was 40ms"]),
        (
            {"ttft_p95": 0.45, "prompt_tokens": 1000},
            "TrafficDiffers",
            ["1000 tokens", "TTFT p95 was 450ms", "promptTokens.mean: 1000"],
        ),
    ],
)
def test_drift_says_what_was_assumed_and_what_to_edit(
    change: dict[str, float], reason: str, parts: list[str]
) -> None:
    news = look(chat(), replace(AS_DECLARED, **change))
    assert news.finding is not None
    assert (news.finding.status, news.finding.reason) == (True, reason)
    for part in (*parts, "in the last 15 min", "The plan stays"):
        assert part in news.finding.message


@pytest.mark.parametrize(
    "change",
    [
        {"requests_per_second": 4.2},  # more than declared, and within what the plan sustains
        {"requests_per_second": 0.1},
        {"prompt_tokens": 600},
        {"ttft_p95": 0.31},
        {"ttft_p95": 0.01},
        # At a rate above the declared one only the promise counts.
        {"requests_per_second": 3.9, "ttft_p95": 0.7},
    ],
)
def test_what_is_not_drift(change: dict[str, float]) -> None:
    news = look(chat(), replace(AS_DECLARED, **change))
    assert news.finding is not None
    assert news.finding.reason == "AsPlanned"


def test_beyond_the_promise_is_slow_at_any_rate() -> None:
    news = look(chat(), replace(AS_DECLARED, requests_per_second=3.9, ttft_p95=1.0))
    assert news.finding is not None
    assert news.finding.reason == "SlowerThanPredicted"


def test_without_data_nothing_is_said_until_an_edit() -> None:
    assert look(chat(), None) == NO_NEWS
    known = told(chat(), look(chat(), AS_DECLARED))
    assert look(known, None) == NO_NEWS
    news = look(replace(known, generation=2), None)
    assert news.finding is not None
    assert (news.finding.status, news.finding.reason) == (None, "NotMeasured")
    again = told(replace(known, generation=2), news)
    assert look(again, None) == NO_NEWS


def test_observed_figures_are_of_the_plan_in_force() -> None:
    known = told(chat(), look(chat(), AS_DECLARED))
    assert known.status.observed is not None
    other = told(known, NO_NEWS, plan=cpu_plan(replicas=3))
    assert other.status.observed is None


@pytest.mark.parametrize(
    ("field", "enter", "leave"),
    [
        ("requests_per_second", 4 * 1.21, 4 * 1.04),
        ("prompt_tokens", 500 * 1.31, 500 * 1.14),
        ("ttft_p95", 0.3 * 1.11, 0.3 * 0.99),
    ],
)
def test_between_entering_and_leaving_it_stays(field: str, enter: float, leave: float) -> None:
    between = replace(AS_DECLARED, **{field: (enter + leave) / 2})
    calm = told(chat(), look(chat(), AS_DECLARED))
    same = look(calm, between)
    assert same.finding is None or same.finding.reason == "AsPlanned"
    drifted = told(calm, look(calm, replace(AS_DECLARED, **{field: enter})))
    still = look(drifted, between)
    assert still.finding is None or still.finding.status is True
    back = look(drifted, replace(AS_DECLARED, **{field: leave}))
    assert back.finding is not None
    assert back.finding.status is False


near = st.floats(0.955, 1.045)


@settings(max_examples=25)
@given(
    base=st.floats(0.5, 2.5),
    noise=st.lists(st.tuples(near, near, near, near), min_size=1, max_size=12),
)
def test_noise_is_written_at_most_twice(base: float, noise: list[tuple[float, ...]]) -> None:
    current, writes = chat(), 0
    for rate, prompt, output, latency in noise:
        figures = Figures(
            2700,
            900,
            3 * base * rate,
            500 * base * prompt,
            200 * output,
            0.2 * latency,
            0.02 * latency,
        )
        news = look(current, figures)
        after = told(current, news, now=LATER)
        writes += after.status != current.status
        current = after
    # The verdict, and once more where that settles on the other side of a threshold.
    assert writes <= 2


def test_news_wait_for_their_time() -> None:
    calm = told(chat(), look(chat(), AS_DECLARED))
    louder = replace(AS_DECLARED, requests_per_second=9.0)
    assert look(calm, louder, settled=False) == NO_NEWS
    assert look(calm, louder).finding is not None
    drifted = told(calm, look(calm, louder))
    more = replace(AS_DECLARED, requests_per_second=12.0)
    assert look(drifted, more, settled=False) == NO_NEWS
    news = look(drifted, more)
    assert news.finding is not None
    assert "12 requests/s" in news.finding.message


def test_a_spec_that_cannot_be_read_is_not_judged() -> None:
    assert drift(resource(spec={"model": {}}), PLAN, AS_DECLARED, settled=True) == NO_NEWS


def test_what_a_trace_had_is_what_was_planned_for() -> None:
    trace = PlannedTrace(
        hash="0",
        requests=100,
        seconds=50,
        requests_per_second="3",
        prompt_tokens=500,
        output_tokens=200,
    )
    named = {"trace": {"configMapKeyRef": {"name": "traffic"}}}
    before = resource(spec={**SPEC, "workload": named})
    plan = PLAN.model_copy(update={"trace": trace})
    as_recorded = drift(before, plan, AS_DECLARED, settled=True)
    assert as_recorded.finding is not None
    assert as_recorded.finding.reason == "AsPlanned"
    longer = replace(AS_DECLARED, prompt_tokens=900, output_tokens=20)
    news = drift(before, plan, longer, settled=True).finding
    assert news is not None
    assert (news.status, news.reason) == (True, "TrafficDiffers")
    assert "prompts had 900 tokens on average, planned were 500" in news.message
    assert news.message.endswith("edit spec: workload.trace: a trace of today")

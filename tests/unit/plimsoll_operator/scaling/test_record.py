"""Decisions that are kept give the same again."""

from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.api.status import ScalingDecision
from plimsoll_operator.reports.scaling_report import scaling_report
from plimsoll_operator.scaling.autoscale import (
    Measured,
    Memory,
    Policy,
    Recommendation,
    Sample,
    decide,
)
from plimsoll_operator.scaling.demand import Capacity, Tail, Tick, Traffic
from plimsoll_operator.scaling.measurement import Counters
from plimsoll_operator.scaling.record import MOST_KEPT, again, kept, record
from plimsoll_operator.traces.metrics_snapshot import Histogram
from tests.unit.plimsoll_operator.samples import resource

WHEN = "2026-11-21T14:00:00Z"
EMPTY = Counters(Histogram(), Histogram(), Histogram(), Histogram(), 0.0)


@settings(max_examples=60)
@given(
    running=st.floats(0, 1000),
    waiting=st.floats(0, 1000),
    arrived=st.floats(0, 1e5),
    correction=st.floats(0.4, 1.3),
    rate=st.floats(0.001, 100),
    earlier=st.lists(st.integers(1, 40), max_size=5),
    current=st.integers(0, 50),
    counted=st.booleans(),
)
def test_a_decision_is_recomputed_from_its_record(
    running: float,
    waiting: float,
    arrived: float,
    correction: float,
    rate: float,
    earlier: list[int],
    current: int,
    counted: bool,
) -> None:
    tails = (Tail(), Tail())
    ticks = (Tick(0.0, 0, 0, tails, 1), Tick(100.0, arrived, 0, tails, 1, waiting))
    traffic = Traffic(Capacity(16, rate), (), ticks, correction, 90.0)
    memory = Memory(
        -1e6, tuple(Recommendation(50.0 + i, n) for i, n in enumerate(earlier)), traffic
    )
    samples = (Sample("pod-0", 105.0, running, waiting, 0.5, "", EMPTY if counted else None),)
    policy = Policy(2, 30, 300)
    decision = decide(Measured(samples, current, 1), policy, Capacity(16, rate), memory, 105.0)
    assert decision.basis is not None
    written = record(decision.basis, decision.replicas, WHEN).model_dump_json(by_alias=True)
    read = ScalingDecision.model_validate_json(written)
    assert again(read) == (read.wanted, decision.replicas)


def example(replicas: int = 6) -> ScalingDecision:
    return ScalingDecision(
        at=WHEN,
        current=4,
        replicas=replicas,
        wanted=6,
        lowest=6,
        highest=6,
        min_replicas=1,
        max_replicas=10,
        ready=4,
        slots=16,
        running="40",
        waiting="120",
        standing="0",
        filled="2.5",
        requests_per_second="9",
        capacity="2",
        correction="0.9",
    )


def test_only_the_last_are_kept() -> None:
    decisions: list[ScalingDecision] = []
    for count in range(25):
        decisions = kept(decisions, example(count))
    assert [item.replicas for item in decisions] == list(range(25 - MOST_KEPT, 25))


def told(*decisions: ScalingDecision) -> str:
    found = resource()
    status = found.status.model_copy(update={"scaling": list(decisions)})
    text = scaling_report(type(found)(**{**vars(found), "status": status}))
    return " ".join(text.split())


def test_explain_says_the_formula_and_the_same_count() -> None:
    # (9 + 120 / 60) / (2 × 0.9) = 6.1
    text = told(example().model_copy(update={"wanted": 7, "lowest": 7, "replicas": 7}))
    assert "4 → 7: (9 req/s + 120 waiting / 60 s) / (2 req/s × 0.9) needs 7" in text
    assert "✓ the same again" in text


def test_explain_says_where_it_would_decide_otherwise() -> None:
    assert "✗ today 6, for 7" in told(example())


def test_explain_survives_a_status_that_somebody_else_wrote() -> None:
    assert "not readable" in told(example().model_copy(update={"running": "many"}))
    assert told() == ""

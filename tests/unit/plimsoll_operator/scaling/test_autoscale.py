"""The autoscaler goes up on a queue, down only after a long look, and holds when it cannot see."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.scaling.autoscale import (
    SCALE_UP_WINDOW,
    Decision,
    Measured,
    Memory,
    Policy,
    Sample,
    decide,
    demand_of,
)
from plimsoll_operator.scaling.demand import WAITING_TOLERANCE, Capacity, Traffic, replicas_for
from plimsoll_operator.scaling.measurement import Counters
from plimsoll_operator.traces.metrics_snapshot import Histogram

POLICY = Policy(min_replicas=1, max_replicas=10, scale_down_stabilization=300)
SEQS = 8
CAPACITY = Capacity(SEQS)
TICK = 5.0


def sample(
    replica: int, running: float, waiting: float, at: float = 0.0, kv: float = 0.0
) -> Sample:
    return Sample(f"pod-{replica}", at, running, waiting, kv)


def recommend(samples: Sequence[Sample], current: int) -> int:
    """By the queue alone."""
    return replicas_for(demand_of(samples, CAPACITY, Traffic()), current)


def spread(demand: int, replicas: int, at: float, seqs: int = SEQS) -> tuple[Sample, ...]:
    """`demand` concurrent requests over equal replicas: what fits runs, the rest waits."""
    samples = []
    for index in range(replicas):
        share = demand // replicas + (index < demand % replicas)
        running = min(seqs, share)
        samples.append(sample(index, running, share - running, at, running / seqs))
    return tuple(samples)


def run(
    demands: list[int], replicas: int = 1, policy: Policy = POLICY, startup: int = 6
) -> list[int]:
    """Replica counts tick by tick; new ones are ready `startup` ticks after they are asked for."""
    memory, asked, counts = Memory(), [replicas] * (startup + 1), []
    for tick, demand in enumerate(demands):
        now = tick * TICK
        current = asked[-1]
        ready = min(current, *asked[-startup - 1 :])
        measured = Measured(spread(demand, ready, now), current, ready)
        decision = decide(measured, policy, CAPACITY, memory, now)
        memory = decision.memory
        asked.append(decision.replicas)
        counts.append(decision.replicas)
    return counts


@given(demand=st.integers(0, 200), replicas=st.integers(1, 10))
def test_constant_load_comes_to_rest_and_never_flaps(demand: int, replicas: int) -> None:
    counts = run([demand] * 300, replicas)
    moves = [after - before for before, after in pairwise(counts)]
    ups = [index for index, move in enumerate(moves) if move > 0]
    downs = [index for index, move in enumerate(moves) if move < 0]
    assert not ups or not downs, counts
    assert len(set(counts[-100:])) == 1
    carried = counts[-1] * SEQS * (1 + WAITING_TOLERANCE)
    assert carried >= min(demand, POLICY.max_replicas * SEQS)


@given(
    demands=st.lists(st.integers(0, 500), min_size=1, max_size=120),
    replicas=st.integers(0, 40),
    low=st.integers(1, 10),
    more=st.integers(0, 10),
)
def test_bounds_hold(demands: list[int], replicas: int, low: int, more: int) -> None:
    counts = run(demands, replicas, Policy(low, low + more, 60))
    assert all(low <= count <= low + more for count in counts)


@given(
    running=st.integers(0, SEQS),
    waiting=st.integers(0, 100),
    more=st.integers(0, 100),
    current=st.integers(1, 10),
)
def test_more_waiting_never_means_fewer(
    running: int, waiting: int, more: int, current: int
) -> None:
    few = recommend([sample(0, running, waiting)], current)
    many = recommend([sample(0, running, waiting + more)], current)
    assert many >= few


def test_goes_up_with_the_second_look() -> None:
    counts = run([0, 24, 24, 24])
    assert counts == [1, 1, 1, 3] or counts[:3] == [1, 1, 3]
    assert math.ceil(SCALE_UP_WINDOW / TICK) == 2


def test_a_blip_scales_nothing() -> None:
    assert set(run([0, 40, 0, 0, 40, 0, 0])) == {1}


def test_replicas_that_start_count() -> None:
    counts = run([24] * 12)
    assert counts[-1] == 3
    assert max(counts) == 3


def test_goes_down_only_after_the_window_and_in_one_step() -> None:
    ticks = int(POLICY.scale_down_stabilization / TICK)
    counts = run([0] * (ticks + 5), replicas=5)
    assert set(counts[: ticks - 1]) == {5}
    assert counts[-1] == 1


def test_a_burst_in_the_window_keeps_replicas() -> None:
    ticks = int(POLICY.scale_down_stabilization / TICK)
    quiet = [0] * (ticks - 10)
    counts = run([*quiet, *[40] * 4, *quiet], replicas=5)
    assert set(counts) == {5}


def test_a_full_cache_counts_like_full_slots() -> None:
    full = tuple(sample(index, 2, 6, kv=1.0) for index in range(2))
    assert recommend(full, 2) >= 8
    idle_slots = tuple(sample(index, 2, 0, kv=0.9) for index in range(3))
    assert recommend(idle_slots, 3) == 3


def held(measured: Measured, now: float = 100.0) -> Decision:
    quiet = Memory(since=-1e6)
    decision = decide(measured, POLICY, CAPACITY, quiet, now)
    assert decision.replicas == measured.current
    assert not decision.active
    assert "held" in decision.message
    return decision


FLAWED = [
    (sample(1, math.nan, 0, 100), "MetricsAbsurd"),
    (sample(1, -1, 0, 100), "MetricsAbsurd"),
    (sample(1, 0, 1e12, 100), "MetricsAbsurd"),
    (sample(1, 0, math.inf, 100), "MetricsAbsurd"),
    (sample(1, 0, 0, 100, kv=math.nan), "MetricsAbsurd"),
    (sample(1, 0, 0, 100, kv=7.0), "MetricsAbsurd"),
    (sample(1, 0, 0, 1), "MetricsStale"),
    (Sample("pod-1", 100, error="no answer within 2 s"), "MetricsMissing"),
]


@pytest.mark.parametrize(("flawed", "reason"), FLAWED)
@pytest.mark.parametrize("busy", [0, 100])
def test_holds_on_flawed_metrics(flawed: Sample, reason: str, busy: int) -> None:
    decision = held(Measured((sample(0, 8, busy, 100), flawed), current=3, ready=2))
    assert decision.reason == reason
    assert "pod-1" in decision.message


def test_holds_when_a_ready_replica_is_silent_or_none_is_ready() -> None:
    assert held(Measured((sample(0, 0, 0, 100),), 2, 2)).reason == "MetricsPending"
    assert held(Measured((), 2, 0)).reason == "NoReadyReplica"


def test_time_without_metrics_is_no_evidence_for_fewer() -> None:
    memory, replicas = Memory(since=-1e6), 5
    for tick in range(200):
        now = tick * TICK
        blind = tick % 40 == 0
        samples = () if blind else spread(0, replicas, now)
        decision = decide(Measured(samples, replicas, replicas), POLICY, CAPACITY, memory, now)
        memory, replicas = decision.memory, decision.replicas
        assert replicas == 5


def test_message_stays_the_same_while_the_load_changes() -> None:
    messages = {
        decide(Measured(spread(load, 1, 0), 1, 1), POLICY, CAPACITY, Memory(), 0).message
        for load in range(30)
    }
    assert len(messages) == 1


ABSURD = st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 1e30])
ODD = st.one_of(st.floats(allow_nan=True, allow_infinity=True), ABSURD, st.floats(0, 20))


@settings(max_examples=15)
@given(
    rows=st.lists(st.tuples(ODD, ODD, ODD, ODD, ODD), min_size=60, max_size=60),
    current=st.integers(1, 10),
    missing=st.booleans(),
)
def test_absurd_metrics_never_scale_down(
    rows: list[tuple[float, float, float, float, float]], current: int, missing: bool
) -> None:
    """Replica 0 is idle and sane; replica 1 says something else each time, for a whole window."""
    memory, replicas = Memory(since=-1e6), current
    for tick, (running, waiting, kv, count, bucket) in enumerate(rows):
        now = tick * TICK
        odd = Histogram(0.0, count, {1.0: bucket})
        counters = Counters(odd, odd, odd, odd, 0.0)
        samples = (
            sample(0, 0, 0, now),
            Sample("pod-1", now, running, waiting, kv, counters=counters),
        )
        seen = Measured(samples[: 1 if missing else 2], replicas, 2)
        decision = decide(seen, POLICY, Capacity(SEQS, 2.0, 1.0, 0.1), memory, now)
        sane = (
            not missing
            and all(0 <= value <= 1_000_000 for value in (running, waiting))
            and 0 <= kv <= 1.01
            and 0 <= bucket <= count < math.inf
        )
        assert decision.active == sane
        assert sane or decision.replicas == replicas
        assert 1 <= decision.replicas <= POLICY.max_replicas
        memory, replicas = decision.memory, decision.replicas
        if sane:
            memory = Memory(since=-1e6)


def test_fixed_bounds_need_no_metrics() -> None:
    decision = decide(Measured((), 7, 7), Policy(3, 3, 300), CAPACITY, Memory(), 0)
    assert (decision.replicas, decision.active, decision.reason) == (3, False, "FixedReplicas")
    assert decision.memory == Memory(asked=7)


def test_a_clock_that_steps_back_does_no_harm() -> None:
    memory = Memory()
    for now in (1000.0, 1005.0, -3600.0, -3595.0):
        decision = decide(Measured(spread(0, 4, now), 4, 4), POLICY, CAPACITY, memory, now)
        memory = decision.memory
        assert decision.replicas == 4


@given(st.lists(st.integers(0, 60), min_size=200, max_size=200))
def test_memory_is_bounded(demands: list[int]) -> None:
    memory = Memory()
    for tick, demand in enumerate(demands):
        now = tick * TICK
        memory = decide(
            Measured(spread(demand, 3, now), 3, 3), POLICY, CAPACITY, memory, now
        ).memory
    assert len(memory.recommendations) <= POLICY.scale_down_stabilization / TICK + 1

"""The autoscaler goes up on a queue, down only after a long look, and holds when it cannot see."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.autoscale import (
    SCALE_UP_WINDOW,
    WAITING_TOLERANCE,
    Decision,
    Measured,
    Memory,
    Policy,
    Sample,
    decide,
    recommend,
)

POLICY = Policy(min_replicas=1, max_replicas=10, scale_down_stabilization=300)
SEQS = 8
TICK = 5.0


def sample(
    replica: int, running: float, waiting: float, at: float = 0.0, kv: float = 0.0
) -> Sample:
    return Sample(f"pod-{replica}", at, running, waiting, kv)


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
        decision = decide(measured, policy, SEQS, memory, now)
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
    few = recommend([sample(0, running, waiting)], SEQS, current)
    many = recommend([sample(0, running, waiting + more)], SEQS, current)
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
    assert recommend(full, SEQS, 2) >= 8
    idle_slots = tuple(sample(index, 2, 0, kv=0.9) for index in range(3))
    assert recommend(idle_slots, SEQS, 3) == 3


def held(measured: Measured, now: float = 100.0) -> Decision:
    quiet = Memory(since=-1e6)
    decision = decide(measured, POLICY, SEQS, quiet, now)
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
        decision = decide(Measured(samples, replicas, replicas), POLICY, SEQS, memory, now)
        memory, replicas = decision.memory, decision.replicas
        assert replicas == 5


def test_message_stays_the_same_while_the_load_changes() -> None:
    messages = {
        decide(Measured(spread(load, 1, 0), 1, 1), POLICY, SEQS, Memory(), 0).message
        for load in range(30)
    }
    assert len(messages) == 1


def test_fixed_bounds_need_no_metrics() -> None:
    decision = decide(Measured((), 7, 7), Policy(3, 3, 300), SEQS, Memory(), 0)
    assert (decision.replicas, decision.active, decision.reason) == (3, False, "FixedReplicas")
    assert decision.memory == Memory()


def test_a_clock_that_steps_back_does_no_harm() -> None:
    memory = Memory()
    for now in (1000.0, 1005.0, -3600.0, -3595.0):
        decision = decide(Measured(spread(0, 4, now), 4, 4), POLICY, SEQS, memory, now)
        memory = decision.memory
        assert decision.replicas == 4


@given(st.lists(st.integers(0, 60), min_size=200, max_size=200))
def test_memory_is_bounded(demands: list[int]) -> None:
    memory = Memory()
    for tick, demand in enumerate(demands):
        now = tick * TICK
        memory = decide(Measured(spread(demand, 3, now), 3, 3), POLICY, SEQS, memory, now).memory
    assert len(memory.recommendations) <= POLICY.scale_down_stabilization / TICK + 1

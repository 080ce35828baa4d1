"""Arrivals, the plan's capacity and promises kept or missed, as a count of replicas."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.scaling.autoscale import Measured, Memory, Policy, Sample, decide
from plimsoll_operator.scaling.demand import (
    CLEAR_SECONDS,
    JUDGE_SECONDS,
    LEAST_CORRECTION,
    LESS,
    MORE,
    MOST_CORRECTION,
    Capacity,
    Demand,
    Traffic,
    count_of,
    observe,
    replicas_for,
)
from plimsoll_operator.scaling.measurement import Counters
from plimsoll_operator.traces.metrics_snapshot import Histogram

CAPACITY = Capacity(max_num_seqs=16, requests_per_second=2.0, ttft=1.0, tpot=0.1)
DEMAND = Demand(running=20, waiting=0, filled=1.5, ready=4, slots=16, arrivals=7.0, capacity=2.0)
TICK = 5.0


def counters(ended: float, missed: float = 0.0, unfinished: float = 0.0) -> Counters:
    """`missed` of what ended had its first token too late."""
    lengths = Histogram(100.0 * ended, ended, {math.inf: ended})
    ttft = Histogram(0.0, ended, {1.0: ended - missed, 2.0: ended, math.inf: ended})
    tpot = Histogram(0.0, ended, {0.1: ended, math.inf: ended})
    return Counters(lengths, lengths, ttft, tpot, unfinished)


def watched(rate: float, misses: float, seconds: float, ready: int = 1) -> Traffic:
    """After so long of `rate` requests per second over all replicas, a share of them missed."""
    traffic = Traffic()
    for tick in range(int(seconds / TICK) + 1):
        each = rate * tick * TICK / ready
        counted = [(f"pod-{index}", counters(each, misses * each)) for index in range(ready)]
        traffic = observe(traffic, counted, CAPACITY, tick * TICK)
    return traffic


def test_the_formula() -> None:
    assert replicas_for(DEMAND, 4) == math.ceil(7 / 2)
    assert replicas_for(replace(DEMAND, waiting=3 * CLEAR_SECONDS), 4) == 5
    assert replicas_for(replace(DEMAND, correction=0.5), 4) == 7
    assert replicas_for(replace(DEMAND, arrivals=8.02), 4) == 4
    assert replicas_for(replace(DEMAND, arrivals=8.2), 4) == 5
    assert replicas_for(replace(DEMAND, arrivals=0.0, filled=0.0), 4) == 1


def test_what_runs_is_never_more_than_fits() -> None:
    assert replicas_for(replace(DEMAND, arrivals=0.1, filled=2.4), 4) == 3


def test_a_queue_that_stands_counts_though_few_arrive() -> None:
    # 4 replicas run 40 and 20 wait: 10 fit on each.
    standing = replace(DEMAND, running=40, waiting=20, standing=20, arrivals=1.0, filled=2.5)
    assert replicas_for(standing, 4) == 6
    assert replicas_for(replace(standing, standing=5), 4) == 3


def test_a_queue_stands_when_it_was_never_shorter_for_a_minute() -> None:
    traffic = Traffic()
    for tick in range(30):
        waiting = 0.0 if tick == 10 else 7.0
        counted = [("pod-0", counters(2.0 * tick))]
        traffic = observe(traffic, counted, CAPACITY, tick * TICK, waiting)
        assert traffic.standing == (0.0 if 10 <= tick < 22 else 7.0)


@given(
    arrivals=st.floats(0, 1e3),
    waiting=st.floats(0, 1e4),
    more=st.floats(0, 1e4),
    correction=st.floats(LEAST_CORRECTION, MOST_CORRECTION),
)
def test_more_demand_never_means_fewer(
    arrivals: float, waiting: float, more: float, correction: float
) -> None:
    least = replace(DEMAND, arrivals=arrivals, waiting=waiting, correction=correction)
    assert replicas_for(replace(least, arrivals=arrivals + more), 4) >= replicas_for(least, 4)
    assert replicas_for(replace(least, waiting=waiting + more), 4) >= replicas_for(least, 4)


def test_arrivals_are_counted_over_all_replicas() -> None:
    assert watched(6.0, 0.0, 100, ready=3).rate == pytest.approx(6.0)
    assert watched(6.0, 0.0, 50).rate is None


def test_what_is_unfinished_has_arrived() -> None:
    traffic = Traffic()
    for tick in range(15):
        now = tick * TICK
        traffic = observe(traffic, [("pod-0", counters(0, unfinished=10.0 * tick))], CAPACITY, now)
    assert traffic.rate == pytest.approx(2.0)


def test_a_new_or_restarted_replica_brings_no_burst() -> None:
    traffic = watched(2.0, 0.0, 100)
    both = [("pod-0", counters(210.0)), ("pod-1", counters(9000.0))]
    traffic = observe(traffic, both, CAPACITY, 105.0)
    assert traffic.ticks[-1].arrived == pytest.approx(10.0)
    restarted = [("pod-0", counters(3.0)), ("pod-1", counters(9000.0))]
    assert observe(traffic, restarted, CAPACITY, 110.0).ticks[-1].arrived == 0


def missed(ttft: float | None) -> float:
    """Of 100 requests, 90 are up to 1 s, 9 in the bucket up to 2 s, 1 above."""
    found = counters(100.0, 10.0)
    found.first_token.buckets[2.0] = 99.0
    return count_of("pod-0", found, replace(CAPACITY, ttft=ttft)).tails[0].missed


def test_misses_within_a_bucket_fall_off_exponentially() -> None:
    assert missed(1.0) == pytest.approx(10)
    assert missed(2.0) == pytest.approx(1)
    assert missed(1.5) == pytest.approx(math.sqrt(10 * 1))
    assert missed(5.0) == pytest.approx(1)
    assert missed(None) == 0


def test_the_capacity_is_corrected_by_what_was_kept() -> None:
    once = JUDGE_SECONDS + TICK
    assert watched(2.0, 0.2, once).correction == pytest.approx(LESS)
    assert watched(2.0, 0.0, once).correction == pytest.approx(MORE)
    assert watched(2.0, 0.03, once).correction == 1.0
    assert watched(0.8, 0.0, once).correction == 1.0, "too little load to tell"
    assert watched(9.0, 0.9, once).correction == 1.0, "far beyond capacity, which is no news of it"


def test_the_correction_is_bounded() -> None:
    # Where the load follows the correction, both ends are reached and kept.
    traffic, ended, missed = Traffic(), 0.0, 0.0
    for tick in range(2000):
        share = 0.5 if tick < 1000 else 0.0
        step = 2.0 * traffic.correction * TICK
        ended, missed = ended + step, missed + share * step
        traffic = observe(traffic, [("pod-0", counters(ended, missed))], CAPACITY, tick * TICK)
        assert LEAST_CORRECTION <= traffic.correction <= MOST_CORRECTION
        if tick == 999:
            assert traffic.correction == LEAST_CORRECTION
    assert traffic.correction == MOST_CORRECTION


def test_the_traffic_is_bounded_and_a_clock_that_steps_back_does_no_harm() -> None:
    traffic = watched(2.0, 0.0, 3600)
    assert len(traffic.ticks) <= 38
    back = observe(traffic, [("pod-0", counters(1e6))], CAPACITY, -50.0)
    assert back.rate is None
    assert [tick.at for tick in back.ticks] == [-50.0]


def test_the_same_samples_count_once() -> None:
    traffic = watched(2.0, 0.0, 100)
    again = observe(traffic, [("pod-0", counters(500.0))], CAPACITY, 100.0)
    assert again == traffic


def test_another_plan_or_promise_begins_anew() -> None:
    traffic = watched(2.0, 0.2, 300)
    assert traffic.correction < 1
    other = replace(CAPACITY, requests_per_second=3.0)
    anew = observe(traffic, [("pod-0", counters(700.0))], other, 305.0)
    assert (anew.correction, anew.rate) == (1.0, None)


def decisions(rates: list[float], current: int, policy: Policy) -> list[int]:
    """The counts for arrivals per second, tick by tick, where replicas are ready at once."""
    memory, ended, counts = Memory(), [0.0] * 50, []
    for tick, rate in enumerate(rates):
        for index in range(current):
            ended[index] += rate * TICK / current
        now = tick * TICK
        samples = tuple(
            Sample(f"pod-{index}", now, running=1, counters=counters(ended[index]))
            for index in range(current)
        )
        decision = decide(Measured(samples, current, current), policy, CAPACITY, memory, now)
        memory, current = decision.memory, decision.replicas
        counts.append(current)
    return counts


@pytest.mark.parametrize(("rate", "replicas"), [(0.5, 1), (7.0, 4), (12.0, 6)])
def test_a_steady_rate_gets_what_the_plan_says(rate: float, replicas: int) -> None:
    capacity = replicas_for(replace(DEMAND, arrivals=rate, filled=0.0), 1)
    assert capacity == replicas
    counts = decisions([rate] * 20, replicas, Policy(1, 10, 300))
    assert set(counts) == {replicas}, "before the first correction nothing moves"


def test_a_rate_that_falls_is_followed_after_the_window() -> None:
    counts = decisions([12.0] * 60 + [2.0] * 120, 6, Policy(1, 10, 300))
    assert min(counts[:100]) >= 5
    assert counts[-1] <= 2


def test_a_rate_that_rises_is_followed_within_a_minute_of_being_seen() -> None:
    counts = decisions([2.0] * 20 + [12.0] * 40, 1, Policy(1, 10, 300))
    assert counts[19] == 1
    assert counts[40] >= 4
    assert counts[-1] >= 5

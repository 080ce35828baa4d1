"""The simulator against a plain loop over the scheduler, against queueing theory, and by hand."""

from dataclasses import replace
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_planner.inputs import Lengths, Objectives, Workload
from plimsoll_planner.performance.step_time import StepTime
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.random_traffic import RandomTraffic
from plimsoll_planner.simulation.replica import ReplicaModel, Served
from plimsoll_planner.simulation.simulator import (
    Fleet,
    Routing,
    Run,
    Simulation,
    Window,
    simulate,
    simulation,
)
from plimsoll_planner.simulation.summary import summary
from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.limits import EngineLimits
from tests.unit.plimsoll_planner.plain_simulation import serve

SECOND_A_STEP = StepTime(0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
GPU = StepTime(0.01, 3e-3, 2e-5, 1e-6, 2e-5, 4e-3, 1e-6, 1e-4, 3e-8, 1e-9)
"""Roughly Llama 3.1 8B on an H100."""
LIMITS = EngineLimits(8, 256, 1024, num_blocks=160)
SHORT = Workload(1, Lengths(60, 120), Lengths(20, 60))


def run(
    model: ReplicaModel, rate: float, count: int, skip: int = 100, workload: Workload = SHORT
) -> Run:
    arrivals = RandomTraffic(workload).arrivals(rate, model.limits.max_model_len, seed=3)
    return simulate(Fleet(model), arrivals, Window(skip, count))


def test_a_lone_request_takes_its_steps() -> None:
    """A prompt of 300 in chunks of 256, then five tokens: the first with the last chunk."""
    model = ReplicaModel(replace(SECOND_A_STEP, per_request=0.25), LIMITS)
    found = simulate(Fleet(model), [Arrival(10.0, 300, 5)]).served[0]
    assert (found.queue, found.ttft, found.tpot, found.e2e) == (0.0, 2.25, 1.0, 6.25)


def test_what_comes_during_a_step_waits_for_its_end() -> None:
    model = ReplicaModel(SECOND_A_STEP, LIMITS)
    found = simulate(Fleet(model), [Arrival(0.0, 10, 3), Arrival(0.25, 10, 1)]).served
    assert [each.ttft for each in found] == [1.0, 1.75]
    assert [each.queue for each in found] == [0.0, 0.75]
    assert [each.tpot for each in found] == [1.0, None]


def test_requests_of_one_moment_begin_together() -> None:
    model = ReplicaModel(SECOND_A_STEP, LIMITS)
    found = simulate(Fleet(model), [Arrival(1.0, 10, 1)] * 3).served
    assert [each.e2e for each in found] == [1.0, 1.0, 1.0]


def test_a_queue_of_one_place_is_that_of_the_textbook() -> None:
    """One token each and one place make an M/D/1 queue, whose mean wait at a load of L is
    L / 2(1 - L) services (Pollaczek and Khinchine)."""
    model = ReplicaModel(SECOND_A_STEP, EngineLimits(1, 64, 64, num_blocks=8))
    one = Workload(1, Lengths(8, 8), Lengths(1, 1))
    for rate in (0.3, 0.6):
        found = summary(run(model, rate, 8000, workload=one), Objectives())
        load = found.offered
        assert load == pytest.approx(rate, rel=0.05)
        assert found.utilisation == pytest.approx(load, rel=0.01)
        assert found.queue is not None
        assert found.queue.mean == pytest.approx(load / 2 / (1 - load), rel=0.1)


arrivals = st.lists(
    st.builds(
        Arrival,
        at=st.floats(0, 3),
        prompt_tokens=st.integers(1, 900),
        output_tokens=st.integers(1, 90),
        prefix_ids=st.sampled_from([(), (1,), (1, 2), (3,)]),
        tenant=st.sampled_from(["", "a"]),
        priority=st.integers(-1, 1),
        prefix_block=st.just(100),
    ),
    min_size=1,
    max_size=25,
)


@given(arrivals, st.sampled_from(SchedulingPolicy), st.integers(64, 160))
@settings(max_examples=40)
def test_requests_fare_as_in_a_plain_loop(
    wanted: list[Arrival], policy: SchedulingPolicy, blocks: int
) -> None:
    model = ReplicaModel(GPU, replace(LIMITS, num_blocks=blocks), policy)
    wanted.sort(key=lambda each: each.at)
    found, plain = simulate(Fleet(model), wanted).served, serve(model, wanted)
    assert [
        (each.queue, each.ttft, each.e2e, each.cached_tokens, each.preemptions) for each in found
    ] == [(each.queue, each.ttft, each.e2e, each.cached_tokens, each.preemptions) for each in plain]


@given(
    arrivals,
    st.sampled_from(SchedulingPolicy),
    st.integers(64, 160),
    st.integers(1, 3),
    st.sampled_from(Routing),
)
@settings(max_examples=40)
def test_steps_that_nobody_looks_at_change_nothing(
    wanted: list[Arrival], policy: SchedulingPolicy, blocks: int, replicas: int, routing: Routing
) -> None:
    model = ReplicaModel(GPU, replace(LIMITS, num_blocks=blocks), policy)
    wanted.sort(key=lambda each: each.at)
    looked, passed = (
        drained(simulation(Fleet(model, replicas, routing), wanted, steps=flag))
        for flag in (True, False)
    )
    assert passed[0] == looked[0]
    assert passed[1].num_preemptions == looked[1].num_preemptions
    assert passed[1].served == looked[1].served == tuple(sorted(passed[0]))
    assert looked[1].steps.steps > passed[1].steps.steps == 0


def drained(going: Simulation) -> tuple[list[Served], Run]:
    """What it gave one after the other, and at last."""
    given: list[Served] = []
    while True:
        try:
            given += next(going)
        except StopIteration as ended:
            return given, ended.value


@given(arrivals, st.integers(1, 3), st.sampled_from(Routing))
@settings(max_examples=30)
def test_every_request_is_served_once_and_in_full(
    wanted: list[Arrival], replicas: int, routing: Routing
) -> None:
    model = ReplicaModel(GPU, LIMITS)
    wanted.sort(key=lambda each: each.at)
    found = simulate(Fleet(model, replicas, routing), wanted)
    assert [each.number for each in found.served] == list(range(len(wanted)))
    for each in found.served:
        assert 0 <= each.queue <= each.ttft <= each.e2e
        assert each.cached_tokens < each.arrival.prompt_tokens
        if each.tpot is not None:
            more = each.arrival.output_tokens - 1
            assert each.ttft + each.tpot * more == pytest.approx(each.e2e)
    assert found.steps.most_running <= LIMITS.max_num_seqs
    assert found.steps.most_blocks <= LIMITS.num_blocks


def test_tokens_are_conserved() -> None:
    model = ReplicaModel(GPU, replace(LIMITS, enable_prefix_caching=False, num_blocks=900))
    wanted = list(islice(RandomTraffic(SHORT).arrivals(50.0, 1024, 1), 200))
    wanted.append(Arrival(1e6, 1, 1))  # so that all steps but its own lie between arrivals
    totals = simulate(Fleet(model), wanted).steps
    prompts = sum(each.prompt_tokens for each in wanted[:-1])
    outputs = sum(each.output_tokens for each in wanted[:-1])
    # The last token of an answer is never computed, only sampled.
    assert totals.sampled - 1 == outputs
    assert totals.tokens - 1 == prompts + outputs - 200
    assert totals.gaps.total() == outputs - 200


def test_only_the_window_is_measured_and_its_end_is_served_under_load() -> None:
    model = ReplicaModel(GPU, LIMITS)
    whole = list(islice(RandomTraffic(SHORT).arrivals(60.0, 1024, 5), 400))
    everything = simulate(Fleet(model), whole).served
    windowed = simulate(Fleet(model), whole, Window(50, 200))
    assert windowed.served == everything[50:250]
    assert windowed.seconds == everything[249].arrival.at - everything[50].arrival.at
    cut = simulate(Fleet(model), whole[:250]).served[50:]
    assert sum(each.e2e for each in cut) < sum(each.e2e for each in windowed.served)


def test_one_that_starves_does_not_keep_the_simulation_going() -> None:
    """Urgent requests alone are more than can be served; half as many again come, then no more."""
    model = ReplicaModel(SECOND_A_STEP, EngineLimits(1, 64, 64, 8), SchedulingPolicy.PRIORITY)
    endless = (Arrival(0.4 * n, 8, 1, priority=-1 if n else 1) for n in range(10**9))
    found = simulate(Fleet(model), endless, Window(0, 100))
    assert found.served[0].queue == pytest.approx(0.0)
    assert len(found.served) == 100


def test_the_same_arguments_give_the_same_bytes() -> None:
    model = ReplicaModel(GPU, LIMITS)
    found = [
        summary(
            simulate(
                Fleet(model, 2, Routing.RANDOM, seed=7),
                RandomTraffic(SHORT, 2.0).arrivals(80.0, 1024, seed=7),
                Window(50, 200),
            ),
            Objectives(0.1, 0.02),
        )
        for _ in range(2)
    ]
    assert repr(found[0]) == repr(found[1])


def test_more_load_is_slower() -> None:
    model = ReplicaModel(GPU, LIMITS)
    found = [summary(run(model, rate, 600), Objectives()) for rate in (10, 25, 40, 55)]
    for less, more in pairwise(found):
        for one, other in ((less.ttft, more.ttft), (less.tpot, more.tpot), (less.e2e, more.e2e)):
            assert one is not None
            assert other is not None
            assert one.mean < other.mean
            assert one.p95 < other.p95 * 1.02
        assert less.kv_cache_mean < more.kv_cache_mean


def test_knowing_the_queues_serves_better_than_chance() -> None:
    model = ReplicaModel(GPU, LIMITS)
    waits = {}
    for routing in Routing:
        arrivals = RandomTraffic(SHORT, 2.0).arrivals(120.0, 1024, 1)
        found = simulate(Fleet(model, 3, routing, 1), arrivals, Window(100, 600))
        waits[routing] = sum(each.queue for each in found.served)
    assert waits[Routing.LEAST_LOADED] < waits[Routing.RANDOM] / 2


def test_a_fleet_has_at_least_one_replica() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Fleet(ReplicaModel(GPU, LIMITS), 0)

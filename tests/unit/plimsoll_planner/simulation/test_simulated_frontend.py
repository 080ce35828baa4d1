"""What is in front of the engine: by hand, and against queueing theory."""

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_planner.performance.frontend_time import FrontendTime
from plimsoll_planner.performance.step_time import StepTime
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.frontend import Frontend
from plimsoll_planner.simulation.replica import Replica, ReplicaModel
from plimsoll_planner.simulation.simulator import Fleet, Window, simulate, simulation
from plimsoll_runtime.core.limits import EngineLimits

LIMITS = EngineLimits(8, 256, 1024, num_blocks=160)
SECOND_A_STEP = StepTime(0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
GPU = StepTime(0.01, 3e-3, 2e-5, 1e-6, 2e-5, 4e-3, 1e-6, 1e-4, 3e-8, 1e-9)
NOTHING = FrontendTime(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
SOME = FrontendTime(0.25, 2**-10, 0.125, 0.0625, 0.03125, 0.5, 2.0)

arrivals = st.lists(
    st.tuples(st.floats(0, 3), st.integers(1, 900), st.integers(1, 90)), min_size=1, max_size=20
).map(lambda found: [Arrival(*each) for each in sorted(found)])
seconds = st.floats(0, 0.02)
frontends = st.tuples(seconds, st.floats(0, 1e-4), *[seconds] * 5).map(
    lambda found: FrontendTime(*found)
)


def test_a_lone_request_takes_all_work_once_and_its_end_delays_nobody() -> None:
    """A prompt of 256 in a step of a second, then two more tokens."""
    found = simulate(
        Fleet(ReplicaModel(SECOND_A_STEP, LIMITS, frontend=SOME)), [Arrival(10.0, 256, 3)]
    ).served[0]
    assert found.queue == 0.25 + 256 * 2**-10
    assert found.ttft == found.queue + 1 + 0.125 + 0.09375 + 2.0 == 3.71875
    assert SOME.before_first_token(256) + 1 == found.ttft
    # Among others' tokens its last one is in the middle.
    assert found.tpot == (2 - 0.09375 / 2) / 2
    assert found.e2e == found.ttft + 2 - 0.09375 / 2


def test_the_first_of_a_burst_begins_alone() -> None:
    model = ReplicaModel(SECOND_A_STEP, LIMITS)
    burst = [Arrival(0.0, 100, 2)] * 2
    together = simulate(Fleet(model), burst).served
    assert [each.e2e for each in together] == [2.0, 2.0]
    one_by_one = simulate(Fleet(replace(model, frontend=replace(NOTHING, request=0.25))), burst)
    assert [each.queue for each in one_by_one.served] == [0.25, 1.25]
    assert [each.ttft for each in one_by_one.served] == [1.25, 2.25]


def test_what_waits_for_the_same_clients_goes_together() -> None:
    frontend = Frontend(FrontendTime(10.0, 0.0, 1.0, 2.0, 0.5, 0.0, 0.0))
    assert frontend.take_in(0.0, 5) == 10.0
    assert frontend.deliver(1.0, tokens=3, ended=0).new == 10 + 1 + 3 * 2.5
    # Before 10 these three are not begun with: two more tokens of theirs need no event.
    assert frontend.deliver(9.0, tokens=2, ended=0).new == 18.5 + 1 + 2 * 0.5
    assert frontend.deliver(9.5, tokens=4, ended=0).new == 20.5 + 1 + 2 + 4 * 0.5
    # Now they are.
    assert frontend.deliver(10.0, tokens=1, ended=0).new == 25.5 + 1 + 2.5


@given(arrivals)
@settings(max_examples=20)
def test_a_frontend_without_work_is_none(wanted: list[Arrival]) -> None:
    model = ReplicaModel(replace(GPU, per_request=0.0), LIMITS)
    assert (
        simulate(Fleet(replace(model, frontend=NOTHING)), wanted).served
        == simulate(Fleet(model), wanted).served
    )


@given(arrivals, frontends)
@settings(max_examples=20)
def test_nothing_is_seen_before_it_is_done(wanted: list[Arrival], time: FrontendTime) -> None:
    model = ReplicaModel(GPU, LIMITS, frontend=time)
    run = simulate(Fleet(model), wanted)
    assert len(run.served) == len(wanted)
    first = [each.arrival.at + each.queue for each in run.served]
    assert all(later >= sooner for sooner, later in pairwise(sorted(first)))
    for each in run.served:
        cut = each.arrival
        before = time.request + time.prompt_token * cut.prompt_tokens
        assert each.queue >= before - 1e-9
        assert each.ttft >= time.before_first_token(cut.prompt_tokens) - 1e-9
        assert each.tpot is None or each.tpot >= 0
        assert each.e2e >= each.ttft or math.isclose(each.e2e, each.ttft)


@given(arrivals, frontends)
@settings(max_examples=20)
def test_steps_that_nobody_looks_at_change_nothing(
    wanted: list[Arrival], time: FrontendTime
) -> None:
    model = ReplicaModel(GPU, LIMITS, frontend=time)
    looked, passed = (
        [
            served
            for part in simulation(Fleet(model), wanted, Window(), steps=flag)
            for served in part
        ]
        for flag in (True, False)
    )
    assert sorted(looked) == sorted(passed)


def test_steps_that_a_frontend_keeps_up_with_are_passed_over() -> None:
    """Fast enough for one sequence and not for three, of 400 tokens each; blocks have 16."""
    time = replace(NOTHING, message=2e-3, event=2e-3)
    for count, looked_at in ((1, range(1, 40)), (3, range(400, 1300))):
        replica = Replica(ReplicaModel(GPU, LIMITS, frontend=time))
        for number in range(count):
            replica.receive(number, Arrival(0.0, 20, 400))
        now, looks = replica.begin_step(0.0), 0
        while now is not None:
            replica.pass_quiet(math.inf)
            step, _ = replica.end_step()
            now, looks = replica.begin_step(step.begin + step.seconds), looks + 1
        assert looks in looked_at


def test_a_frontend_is_a_queue_of_the_textbook() -> None:
    """Poisson arrivals of equal work wait L / 2(1 - L) services on average at a load of L
    (Pollaczek and Khinchine)."""
    frontend, chance = Frontend(replace(NOTHING, request=1.0)), random.Random(5)
    for load in (0.3, 0.6):
        now, waits = 1e6 * load, []
        for _ in range(20000):
            now += chance.expovariate(load)
            waits.append(frontend.take_in(now, 1) - now - 1.0)
        assert sum(waits) / len(waits) == pytest.approx(load / 2 / (1 - load), rel=0.1)

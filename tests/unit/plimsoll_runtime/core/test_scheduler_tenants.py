"""Tenants in the scheduler's steps, case by case."""

from collections import Counter

import pytest

from plimsoll_runtime.core.fairness import RECENT, SchedulingPolicy, TenantCounters
from plimsoll_runtime.core.limits import EngineLimits, LiveLimits
from plimsoll_runtime.core.request import Request, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult

FAIR, PRIORITY, FCFS = SchedulingPolicy


def scheduler(
    seqs: int = 4, tokens: int = 8, blocks: int = 64, policy: SchedulingPolicy = FAIR
) -> Scheduler:
    return Scheduler(EngineLimits(seqs, tokens, 32, blocks, 4), policy=policy)


def request(
    name: str, tenant: str, prompt: int = 4, max_tokens: int = 8, first: int = 0
) -> Request:
    """A prompt of its own, unless `first` makes it another's."""
    token = first or sum(name.encode())
    return Request(name, [token] * prompt, SamplingParams(max_tokens), 0.0, tenant=tenant)


def step(target: Scheduler) -> SchedulerOutput:
    output = target.schedule(0.0)
    target.update(
        output, StepResult({item.request_id: 7 for item in output.scheduled if item.samples})
    )
    return output


def dealt(output: SchedulerOutput) -> dict[str, int]:
    return {item.request_id: len(item.token_ids) for item in output.scheduled}


def test_the_tokens_of_a_step_go_to_every_tenant_before_a_second_prompt_of_one() -> None:
    target = scheduler(tokens=12)
    for name in ("flood1", "flood2", "flood3"):
        target.add(request(name, "flood", prompt=30))
    assert dealt(step(target)) == {"flood1": 6, "flood2": 6}
    target.add(request("light", "light", prompt=10))
    assert dealt(step(target)) == {"flood1": 6, "light": 6}
    assert dealt(step(target)) == {"flood1": 6, "light": 4, "flood2": 2}


def test_three_tenants_with_long_prompts_have_a_third_each() -> None:
    target = scheduler(tokens=12)
    for name in "abc":
        target.add(request(name, name, prompt=30))
    step(target)
    assert dealt(step(target)) == {"a": 4, "b": 4, "c": 4}


def test_by_arrival_the_first_prompts_have_it_all() -> None:
    target = scheduler(tokens=12, policy=FCFS)
    for name in ("flood1", "flood2"):
        target.add(request(name, "flood", prompt=30))
    target.add(request("light", "light", prompt=10))
    assert dealt(step(target)) == dealt(step(target)) == {"flood1": 6, "flood2": 6}


def test_where_priorities_are_trusted_a_less_urgent_newcomer_has_no_turn_before() -> None:
    target = scheduler(tokens=12, policy=PRIORITY)
    for name in ("urgent1", "urgent2"):
        target.add(request(name, "flood", prompt=30))
    newcomer = request("later", "light", prompt=10)
    newcomer.priority = 1
    target.add(newcomer)
    assert dealt(step(target)) == {"urgent1": 6, "urgent2": 6}


def test_a_prompt_costs_1_a_token_and_an_output_2() -> None:
    target = scheduler()
    target.add(request("a", "a", prompt=6, max_tokens=3))
    for _ in range(3):
        step(target)
    assert not target.has_unfinished()
    assert target.counters["a"] == 6 + 2 * 3


def test_what_the_cache_held_costs_nothing() -> None:
    target = scheduler(tokens=16)
    target.add(request("a", "a", prompt=10, max_tokens=1, first=3))
    step(target)
    target.add(request("b", "b", prompt=10, max_tokens=1, first=3))
    before = target.counters["b"]
    step(target)
    assert target.counters["b"] - before == (10 - 8) + 2


def test_computing_again_after_a_preemption_costs_nothing() -> None:
    target = Scheduler(EngineLimits(2, 16, 16, 4, 4, enable_prefix_caching=False))
    for name in ("a", "b"):
        target.add(request(name, name, prompt=4, max_tokens=8))
    while target.has_unfinished():
        step(target)
    assert target.num_preemptions > 0
    assert target.counters["a"] == target.counters["b"] == 4 + 2 * 8


@pytest.mark.parametrize(("places", "kept"), [(128, 8), (32, 2), (16, 2), (8, 2), (4, 1), (3, 0)])
def test_the_last_places_are_left_to_who_has_less(places: int, kept: int) -> None:
    target = scheduler(seqs=places, tokens=1024, blocks=1024)
    target.add(request("before", "light", max_tokens=1))
    step(target)
    for number in range(places + 4):
        target.add(request(f"flood{number}", "flood", max_tokens=20))
    step(target)
    assert (target.num_running, target.num_waiting) == (places - kept, 4 + kept)
    for number in range(kept):
        target.add(request(f"light{number}", "light", max_tokens=20))
    dealt_to = dealt(step(target))
    assert all(f"light{number}" in dealt_to for number in range(kept))
    assert (target.num_running, target.num_waiting) == (places, 4 + kept)


def test_who_has_less_passes_the_first_in_order_in_the_last_places() -> None:
    target = scheduler(seqs=32, tokens=256, blocks=512)
    target.add(request("before", "light", prompt=20, max_tokens=1))
    step(target)
    for number in range(40):
        target.add(request(f"flood{number}", "flood", prompt=1, max_tokens=20))
    step(target)
    assert (target.num_running, target.num_waiting) == (30, 10)
    target.counters.charge("light", prompt=10_000)
    target.add(request("light", "light", max_tokens=20))
    assert target.counters["flood"] < target.counters["light"]
    assert "light" in dealt(step(target))
    assert (target.num_running, target.num_waiting) == (31, 10)


def test_the_last_places_are_shared_by_weight() -> None:
    limits = EngineLimits(32, 256, 32, 512, 4)
    target = Scheduler(limits, tenant_weights={"heavy": 3.0})
    for number in range(200):
        for tenant in ("heavy", "usual"):
            target.add(request(f"{tenant}{number}", tenant, prompt=1, max_tokens=20))
    served = Counter(name.rstrip("0123456789") for _ in range(100) for name in dealt(step(target)))
    assert served["heavy"] == pytest.approx(3 * served["usual"], rel=0.1)


@pytest.mark.parametrize("policy", [FCFS, FAIR])
def test_no_place_is_left_by_arrival_or_by_one_who_is_alone(policy: SchedulingPolicy) -> None:
    target = scheduler(seqs=16, tokens=256, blocks=512, policy=policy)
    target.add(request("before", "light" if policy is FCFS else "flood", max_tokens=1))
    step(target)
    for number in range(20):
        target.add(request(f"flood{number}", "flood", max_tokens=20))
    step(target)
    assert target.num_running == 16


def test_the_last_blocks_are_left_to_who_has_less() -> None:
    target = scheduler(seqs=16, tokens=256, blocks=60)
    target.add(request("before", "light", max_tokens=1))
    step(target)
    for number in range(14):
        target.add(request(f"flood{number}", "flood", prompt=18, max_tokens=4))
    step(target)
    assert (target.num_running, target.num_waiting) == (9, 5), "a tenth would fit"
    target.add(request("light", "light", prompt=16))
    assert "light" in dealt(step(target))


def test_a_tenant_is_active_for_a_while_after_its_last_request() -> None:
    counters = TenantCounters()
    counters.leave(counters.enter("a", ()))
    counters.enter("b", ())
    assert len(counters.shares()) == 2
    for _ in range(RECENT - 2):
        counters.leave(counters.enter("c", ()))
    assert len(counters.shares()) == 3
    counters.leave(counters.enter("c", ()))
    assert len(counters.shares()) == 2, "b has a request that is unfinished"


def test_new_limits_preempt_the_last_in_place_and_drop_nobody() -> None:
    target = scheduler(seqs=4, tokens=16, blocks=24)
    for name in ("a", "b", "c", "d"):
        target.add(request(name, name, prompt=4, max_tokens=6))
    assert list(dealt(step(target))) == ["a", "b", "c", "d"]
    target.set_limits(LiveLimits(2, 4, 8))
    assert (target.num_running, target.num_waiting, target.num_preemptions) == (2, 2, 2)
    assert (target.pool.num_free + target.pool.num_used, target.pool.num_withheld) == (8, 16)
    assert list(dealt(step(target))) == ["a", "b"]
    target.set_limits(LiveLimits(4, 16, 24))
    assert list(dealt(step(target))) == ["a", "b", "c", "d"]
    while target.has_unfinished():
        step(target)
    assert target.pool.num_used == 0


def test_blocks_in_use_beyond_the_new_limit_are_given_back_at_once() -> None:
    target = scheduler(seqs=4, tokens=64, blocks=24)
    for name in ("a", "b", "c"):
        target.add(request(name, name, prompt=20, max_tokens=6))
    step(target)
    assert target.pool.num_used == 15
    target.set_limits(LiveLimits(4, 64, 12))
    assert target.pool.num_used == 10
    assert target.num_running == 2


def test_limits_that_cannot_be_change_nothing() -> None:
    target = scheduler()
    before = target.live_limits
    with pytest.raises(ValueError, match="num_usable_blocks 65 is more than the 64"):
        target.set_limits(before._replace(num_usable_blocks=65))
    assert target.live_limits == before

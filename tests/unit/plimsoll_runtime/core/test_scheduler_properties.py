"""What holds for the scheduler at every step of any workload, above all in tiny pools."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings

from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.limits import EngineLimits, LiveLimits
from plimsoll_runtime.core.prefix import HashBlock, hash_block
from plimsoll_runtime.core.request import Request
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import SchedulerOutput
from tests.unit.plimsoll_runtime.core.workloads import (
    FAIR,
    FCFS,
    PRIORITY,
    Arrival,
    Changes,
    a_thousand_requests,
    arrivals,
    changing,
    check_tokens,
    limits,
    policies,
    serve,
)


@given(changing(), arrivals, policies)
@settings(max_examples=200)
def test_limits_and_books_hold_at_every_step(
    limits: tuple[EngineLimits, Changes], workload: list[Arrival], policy: SchedulingPolicy
) -> None:
    most, changes = limits

    def check(scheduler: Scheduler, output: SchedulerOutput) -> None:
        items = output.scheduled
        pool = scheduler.pool
        limit = scheduler.live_limits
        assert pool.num_free + pool.num_used + pool.num_withheld == most.num_blocks
        assert pool.num_withheld == most.num_blocks - limit.num_usable_blocks
        assert len(items) <= scheduler.num_running <= limit.max_num_seqs
        assert output.num_tokens == sum(len(i.token_ids) for i in items)
        assert output.num_tokens <= limit.max_num_batched_tokens
        assert output.num_context_tokens == sum(i.start + len(i.token_ids) for i in items)
        assert len({i.request_id for i in items}) == len(items)
        assert not {i.request_id for i in items} & set(output.preempted)
        used = [block for block in range(most.num_blocks) if scheduler.pool.references(block)]
        assert scheduler.pool.num_used == len(used)
        tables = Counter(block for i in items for block in i.block_ids)
        assert all(scheduler.pool.references(block) >= tables[block] for block in tables)
        for item in items:
            assert item.token_ids
            assert len(item.block_ids) * most.block_size >= item.start + len(item.token_ids)
            written = item.block_ids[item.start // most.block_size :]
            assert all(scheduler.pool.references(b) == 1 for b in written), "written and shared"
        waiting = scheduler.waiting_summary()
        assert sum(each.num_requests for each in waiting) == scheduler.num_waiting

    serve(most, workload, check, policy=policy, changes=changes)


@given(changing(), arrivals, policies)
@settings(max_examples=300)
def test_every_request_gets_the_tokens_it_gets_alone(
    limits: tuple[EngineLimits, Changes], workload: list[Arrival], policy: SchedulingPolicy
) -> None:
    limit, changes = limits
    outputs, _ = serve(limit, workload, policy=policy, changes=changes)
    check_tokens(limit, workload, outputs)


def constant(before: bytes, tokens: bytes) -> bytes:
    return b""


def only_own_tokens(before: bytes, tokens: bytes) -> bytes:
    return tokens


def two_values(before: bytes, tokens: bytes) -> bytes:
    return b"low" if hash_block(before, tokens) < b"\x80" else b"high"


@pytest.mark.parametrize("adversary", [constant, only_own_tokens, two_values])
@given(limit=limits(), workload=arrivals)
def test_no_hash_function_can_mix_up_contents(
    adversary: HashBlock, limit: EngineLimits, workload: list[Arrival]
) -> None:
    """The memory fails when a table leads to another's tokens; so would the answers."""
    limit = replace(limit, enable_prefix_caching=True)
    outputs, _ = serve(limit, workload, hash_block=adversary)
    check_tokens(limit, workload, outputs)


@given(limits(), arrivals)
def test_who_decodes_gets_a_token_in_every_step_until_preempted(
    limit: EngineLimits, workload: list[Arrival]
) -> None:
    decoding: set[str] = set()

    def check(scheduler: Scheduler, output: SchedulerOutput) -> None:
        sampling = {i.request_id for i in output.scheduled if i.samples}
        unfinished = set(scheduler.unfinished_ids())
        assert decoding & unfinished <= sampling | set(output.preempted)
        decoding.clear()
        decoding.update(sampling)

    serve(limit, workload, check)


@given(limits(), arrivals)
def test_the_same_workload_gives_the_same_steps(
    limit: EngineLimits, workload: list[Arrival]
) -> None:
    assert serve(limit, workload) == serve(limit, workload)


@given(limits(), arrivals, policies)
def test_only_the_last_in_place_are_preempted(
    limit: EngineLimits, workload: list[Arrival], policy: SchedulingPolicy
) -> None:
    """So the first in place always goes on and finishes, and then another is first."""
    requests: dict[str, Request] = {}
    numbers: dict[str, int] = {}

    def place(name: str) -> tuple[int, int]:
        request = requests[name]
        assert request.admission == numbers.setdefault(name, request.admission) > 0
        return request.priority if policy is PRIORITY else 0, request.admission

    def check(scheduler: Scheduler, output: SchedulerOutput) -> None:
        if output.preempted:
            kept = max(place(item.request_id) for item in output.scheduled)
            assert kept < min(map(place, output.preempted))

    serve(limit, workload, check, policy=policy, requests=requests)


@given(limits(), arrivals)
def test_with_one_tenant_policies_differ_in_priorities_only(
    limit: EngineLimits, workload: list[Arrival]
) -> None:
    one = [replace(each, tenant="one") for each in workload]
    equals = [replace(each, priority=0) for each in one]
    assert serve(limit, equals, policy=FAIR) == serve(limit, equals, policy=FCFS)
    assert serve(limit, equals, policy=PRIORITY) == serve(limit, equals, policy=FCFS)
    assert serve(limit, one, policy=FCFS)[1] == serve(limit, equals, policy=FCFS)[1]


def test_tiny_pools_do_preempt() -> None:
    """The properties above would say little if their workloads never ran out of blocks."""
    limit = EngineLimits(4, 16, 24, 6, 4)
    workload = [Arrival(0, 4, 20, 0, None) for _ in range(5)]
    _, steps = serve(limit, workload)
    assert sum(len(step.preempted) for step in steps) > 3


def test_families_do_share() -> None:
    """The properties above would say little if nothing was ever found."""
    limit = EngineLimits(4, 16, 40, 20, 4)
    workload = [Arrival(2 * n, 20 + n, 5, 0, None, family=100) for n in range(5)]
    outputs, steps = serve(limit, workload)
    assert [outputs[f"r{n}"][0].cached_tokens for n in range(1, 5)] != [0, 0, 0, 0]
    tables = [Counter(b for i in each.scheduled for b in i.block_ids) for each in steps]
    assert max(max(table.values()) for table in tables if table) > 1


@pytest.mark.parametrize("caching", [True, False])
def test_a_thousand_requests_under_pressure(caching: bool) -> None:
    limit = EngineLimits(8, 24, 64, 24, 4, caching)
    workload = a_thousand_requests()
    outputs, steps = serve(limit, workload)
    check_tokens(limit, workload, outputs)
    cached = sum(items[-1].cached_tokens for items in outputs.values())
    assert (cached > 500) if caching else (cached == 0)
    assert sum(len(each.preempted) for each in steps) > 100


@pytest.mark.parametrize("policy", list(SchedulingPolicy))
def test_a_thousand_requests_of_tenants_while_limits_change(policy: SchedulingPolicy) -> None:
    """With enough places and blocks that some are left to tenants with less than their part."""
    rng = random.Random(11)
    limit = EngineLimits(20, 40, 64, 40, 4)
    workload = [
        Arrival(
            step=rng.randrange(12),
            prompt=rng.randint(1, 30),
            max_tokens=rng.randint(1, 30),
            priority=rng.choice([-1, 0, 0, 1]),
            abort_after=rng.choice([None, None, None, 3, 40, 200]),
            family=rng.choice([None, 100]),
            salt=(tenant := rng.choice(["flood"] * 8 + ["a", "b"])),
            tenant=tenant,
        )
        for _ in range(1000)
    ]
    changes = {}
    for step in range(0, 2000, 25):
        seqs = rng.randint(1, 20)
        changes[step] = LiveLimits(seqs, rng.randint(seqs, 40), rng.randint(16, 40))
    outputs, steps = serve(limit, workload, policy=policy, changes=changes)
    check_tokens(limit, workload, outputs)
    assert sum(len(each.preempted) for each in steps) > 25
    assert len(steps) > 400

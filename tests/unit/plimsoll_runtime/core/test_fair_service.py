"""Service between tenants through the scheduler: the bound of virtual token counters."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_runtime.core.fairness import Prices, SchedulingPolicy
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import Request, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step_result import StepResult

PRICES = Prices()
FLOOD = 10
"""Requests of the flooding tenant for each of the other."""


@dataclass(frozen=True)
class Job:
    prompt: int
    output: int
    priority: int


@dataclass(frozen=True)
class Load:
    """`light` jobs of one tenant, and FLOOD times as many of another, all there from the start."""

    limits: EngineLimits
    light: list[Job]
    flood: list[Job]

    @property
    def bound(self) -> float:
        """Priced tokens by which the service of tenants that both wait may differ.

        A tenant is admitted only while its counter is the least. After that it can still be
        charged one prompt, and the outputs of all that it runs: at most everything that may run.
        """
        jobs = self.light + self.flood
        outputs = self.limits.max_num_seqs * max(job.output for job in jobs)
        return PRICES.prompt * max(job.prompt for job in jobs) + PRICES.output * outputs


@st.composite
def loads(draw: st.DrawFn) -> Load:
    seqs = draw(st.integers(1, 4))
    blocks = draw(st.integers(10, 24))
    limits = EngineLimits(
        max_num_seqs=seqs,
        max_num_batched_tokens=draw(st.integers(seqs, 24)),
        max_model_len=40,
        num_blocks=blocks,
        block_size=4,
        enable_prefix_caching=False,
        long_prefill_token_threshold=draw(st.none() | st.integers(1, 8)),
    )
    jobs = st.builds(Job, st.integers(1, 20), st.integers(1, 20), st.integers(-3, 3))
    light = draw(st.lists(jobs, min_size=2, max_size=6))
    flood = draw(st.lists(jobs, min_size=2, max_size=6)) * FLOOD
    return Load(limits, light, flood)


def differences(
    load: Load, policy: SchedulingPolicy, weights: dict[str, float] | None = None
) -> Iterator[float]:
    """Light's service less flood's, over their weights, after every step in which both wait.

    Counted here from what the steps did, not read from the scheduler's counters.
    """
    scheduler = Scheduler(load.limits, policy=policy, tenant_weights=weights)
    requests: dict[str, Request] = {}
    for tenant, jobs in (("flood", load.flood), ("light", load.light)):
        for job in jobs:
            name = f"{tenant}-{len(requests)}"
            sampling = SamplingParams(job.output)
            prompt = [1] * job.prompt
            requests[name] = Request(
                name, prompt, sampling, float(len(requests)), job.priority, tenant=tenant
            )
            scheduler.add(requests[name])
    service: Counter[str] = Counter()
    begun: set[str] = set()
    while True:
        output = scheduler.schedule(0.0)
        for item in output.scheduled:
            request = requests[item.request_id]
            weight = (weights or {}).get(request.tenant, 1.0)
            if item.request_id not in begun:
                begun.add(item.request_id)
                service[request.tenant] += PRICES.prompt * len(request.prompt_token_ids) / weight
            if item.samples:
                service[request.tenant] += PRICES.output / weight
        scheduler.update(
            output, StepResult({i.request_id: 7 for i in output.scheduled if i.samples})
        )
        waiting = {requests[name].tenant for name in requests if name not in begun}
        if waiting != {"light", "flood"}:
            return
        yield service["light"] - service["flood"]


@given(loads())
@settings(max_examples=200)
def test_who_floods_gets_its_share_and_no_more(load: Load) -> None:
    for difference in differences(load, SchedulingPolicy.FAIR):
        assert abs(difference) <= load.bound


@given(loads())
def test_equal_priorities_share_where_priorities_are_trusted(load: Load) -> None:
    level = replace(
        load,
        light=[replace(job, priority=0) for job in load.light],
        flood=[replace(job, priority=0) for job in load.flood],
    )
    for difference in differences(level, SchedulingPolicy.PRIORITY):
        assert abs(difference) <= level.bound


@given(loads(), st.sampled_from([0.5, 2.0, 3.0]))
def test_weights_are_shares_of_service(load: Load, weight: float) -> None:
    bound = load.bound / min(1.0, weight)
    for difference in differences(load, SchedulingPolicy.FAIR, {"light": weight}):
        assert abs(difference) <= bound


LONG = Load(
    EngineLimits(4, 16, 40, 24, 4, enable_prefix_caching=False),
    [Job(8, 8, 0)] * 60,
    [Job(8, 8, 0)] * 600,
)


@pytest.mark.parametrize("priority", [0, -3])
def test_over_a_long_time_both_get_the_same(priority: int) -> None:
    """However urgent the flooding tenant says it is."""
    load = replace(LONG, flood=[replace(job, priority=priority) for job in LONG.flood])
    found = list(differences(load, SchedulingPolicy.FAIR))
    assert len(found) > 150
    assert max(map(abs, found)) <= load.bound


def test_by_arrival_the_flood_gets_it_all() -> None:
    """The bound above would say little if every order kept it."""
    found = list(differences(LONG, SchedulingPolicy.FCFS))
    assert min(found) < -20 * LONG.bound

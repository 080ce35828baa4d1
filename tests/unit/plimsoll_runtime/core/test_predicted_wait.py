"""The predicted wait against the scheduler's own steps, under steady traffic."""

import random
from dataclasses import replace

import pytest

from plimsoll_runtime.core.admission import AdmissionRules, Demand, Load, predicted_wait
from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import Request, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step_result import StepResult

FAIR, PRIORITY, FCFS = SchedulingPolicy
LIMITS = EngineLimits(32, 512, 1024, 4096, enable_prefix_caching=False)


def predicted_and_true(
    limits: EngineLimits, policy: SchedulingPolicy, queues: dict[str, int], tenant: str
) -> tuple[float, int]:
    """Steps until a request of `tenant` has a place, behind queues that others keep full."""
    rng = random.Random(3)
    scheduler = Scheduler(limits, policy=policy)
    sent = 0

    def add(of: str, now: int) -> Request:
        nonlocal sent
        sent += 1
        prompt, sampling = [1] * rng.randint(50, 250), SamplingParams(rng.randint(20, 60))
        request = Request(f"r{sent}", prompt, sampling, float(now), tenant=of)
        scheduler.add(request)
        return request

    def step(now: int) -> None:
        output = scheduler.schedule(float(now))
        scheduler.update(
            output, StepResult({i.request_id: 7 for i in output.scheduled if i.samples})
        )
        waiting = {each.tenant: each.num_requests for each in scheduler.waiting_summary()}
        for of, length in queues.items():
            for _ in range(length - waiting.get(of, 0)):
                add(of, now)

    for now in range(400):
        step(now)
    load = Load(
        scheduler.live_limits,
        limits.block_size,
        scheduler.num_running,
        scheduler.waiting_summary(),
        scheduler.mean_output_tokens,
        seconds_per_step=1.0,
    )
    request = add(tenant, 400)
    demand = Demand(tenant, 0, 1, request.num_tokens)
    rules = AdmissionRules(10_000, policy=policy)
    predicted = predicted_wait(load, demand, rules)
    now = 400
    while request.first_scheduled_time is None:
        step(now)
        now += 1
    return predicted, now - 400


@pytest.mark.parametrize("policy", [FAIR, FCFS])
@pytest.mark.parametrize("length", [20, 100, 300])
def test_one_queue(policy: SchedulingPolicy, length: int) -> None:
    predicted, true = predicted_and_true(LIMITS, policy, {"a": length}, "a")
    assert true / 2 <= predicted <= 2 * true


@pytest.mark.parametrize(
    "limits",
    [
        LIMITS,
        replace(LIMITS, max_num_seqs=256, num_blocks=256),
        replace(LIMITS, max_num_seqs=256, num_blocks=256, enable_prefix_caching=True),
    ],
)
def test_behind_two_tenants(limits: EngineLimits) -> None:
    """Also where not places but blocks are what runs out, and where prompts share them."""
    predicted, true = predicted_and_true(limits, FAIR, {"a": 200, "b": 60}, "b")
    assert true / 2 <= predicted <= 2 * true
    by_arrival, true = predicted_and_true(limits, FCFS, {"a": 200, "b": 60}, "b")
    assert true / 2 <= by_arrival <= 2 * true
    assert by_arrival > predicted


def test_a_stranger_to_a_flood() -> None:
    predicted, true = predicted_and_true(LIMITS, FAIR, {"a": 300}, "light")
    assert predicted < 10
    assert true < 10
    by_arrival, true = predicted_and_true(LIMITS, FCFS, {"a": 300}, "light")
    assert min(by_arrival, true) > 150

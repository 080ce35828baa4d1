"""A light tenant beside a flooding one, through the scheduler: no clock but the steps."""

import math
import random
from dataclasses import dataclass

import pytest

from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import Request, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step_result import StepResult

REQUESTS = 80
SPACING = 16
"""Mean steps between two requests of the light tenant."""
FLOOD = 10 * REQUESTS
QUEUE = 100
"""Requests that the flooding tenant keeps waiting: each that is served is replaced at once."""


@dataclass(frozen=True)
class Shape:
    """What runs out first under the flood: places, or blocks."""

    max_num_seqs: int
    num_blocks: int

    @property
    def limits(self) -> EngineLimits:
        return EngineLimits(
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=2048,
            max_model_len=1024,
            num_blocks=self.num_blocks,
            enable_prefix_caching=False,
        )


def request(rng: random.Random, tenant: str, number: int, now: int) -> Request:
    """A chat turn: 100 to 600 tokens in, 20 to 80 out."""
    sampling = SamplingParams(rng.randint(20, 80))
    prompt = [1] * rng.randint(100, 600)
    return Request(f"{tenant}-{number}", prompt, sampling, float(now), tenant=tenant)


def waits(shape: Shape, policy: SchedulingPolicy, *, flooded: bool, seed: int = 0) -> list[int]:
    """Steps from each light request's arrival to its first token, sorted."""
    light, flood = random.Random(seed), random.Random(seed + 1)
    arrivals = []
    at = 50.0
    for _ in range(REQUESTS):
        at += light.expovariate(1 / SPACING)
        arrivals.append(math.ceil(at))
    scheduler = Scheduler(shape.limits, policy=policy)
    first: dict[str, int] = {}
    sent = now = 0
    while len(first) < REQUESTS:
        for number, arrival in enumerate(arrivals):
            if arrival == now:
                scheduler.add(request(light, "light", number, now))
        while flooded and scheduler.num_waiting < QUEUE:
            scheduler.add(request(flood, "flood", sent, now))
            sent += 1
        output = scheduler.schedule(float(now))
        sampled = {item.request_id: 7 for item in output.scheduled if item.samples}
        for each in scheduler.update(output, StepResult(sampled)):
            if each.request_id.startswith("light"):
                first.setdefault(each.request_id, now)
        now += 1
    assert not flooded or sent > FLOOD
    return sorted(1 + first[f"light-{n}"] - arrivals[n] for n in range(REQUESTS))


def p95(values: list[int]) -> int:
    return values[math.ceil(0.95 * len(values)) - 1]


PLACES, BLOCKS = Shape(64, 8192), Shape(256, 2048)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("shape", [PLACES, BLOCKS])
def test_its_first_tokens_come_within_twice_the_steps_that_they_take_alone(
    shape: Shape, seed: int
) -> None:
    alone = waits(shape, SchedulingPolicy.FAIR, flooded=False, seed=seed)
    flooded = waits(shape, SchedulingPolicy.FAIR, flooded=True, seed=seed)
    assert p95(flooded) <= 2 * p95(alone)


@pytest.mark.parametrize("shape", [PLACES, BLOCKS])
def test_by_arrival_it_waits_behind_the_flood(shape: Shape) -> None:
    by_turns = waits(shape, SchedulingPolicy.FAIR, flooded=True)
    by_arrival = waits(shape, SchedulingPolicy.FCFS, flooded=True)
    assert p95(by_arrival) > 20 * p95(by_turns)

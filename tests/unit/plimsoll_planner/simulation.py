"""Traffic through the engine's own scheduler, with a clock that the performance model drives.

What the closed formulas of `latency` are held against.
"""

import heapq
import math
import random
from dataclasses import dataclass

from plimsoll_planner.inputs import Lengths
from plimsoll_planner.latency import Engine
from plimsoll_planner.traffic import squared_variation
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import Request, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import SchedulerOutput


@dataclass
class Served:
    """One request as its client saw it. Seconds."""

    ttft: float
    tpot: float


def lognormal_lengths(rng: random.Random, lengths: Lengths, count: int, most: int) -> list[int]:
    """Lengths with the given mean and 95th percentile."""
    sigma = math.sqrt(math.log(1 + squared_variation(lengths)))
    mu = math.log(lengths.mean) - sigma * sigma / 2
    return [min(most, max(1, round(rng.lognormvariate(mu, sigma)))) for _ in range(count)]


def open_loop(
    engine: Engine,
    rate: float,
    prompts: list[int],
    outputs: list[int],
    kv_cache_tokens: int,
    seed: int,
) -> list[Served]:
    """Poisson arrivals at `rate`; every request is served to its end."""
    rng = random.Random(seed)
    at, arrivals = 0.0, []
    for prompt, output in zip(prompts, outputs, strict=True):
        at += rng.expovariate(rate)
        arrivals.append((at, prompt, output))
    return _run(engine, arrivals, kv_cache_tokens, again=None)


def closed_loop(
    engine: Engine, clients: int, prompt: int, output: int, rounds: int, kv_cache_tokens: int
) -> list[Served]:
    """`clients` that each send the next request when the last one ended; the second half only."""
    served = _run(
        engine,
        [(0.0, prompt, output)] * clients,
        kv_cache_tokens,
        again=clients * (rounds - 1),
    )
    return served[len(served) // 2 :]


def p95(values: list[float]) -> float:
    """95th percentile, nearest rank."""
    ordered = sorted(values)
    return ordered[math.ceil(0.95 * len(ordered)) - 1]


def _run(
    engine: Engine,
    arrivals: list[tuple[float, int, int]],
    kv_cache_tokens: int,
    again: int | None,
) -> list[Served]:
    longest = max(prompt + output for _, prompt, output in arrivals) + 1
    scheduler = Scheduler(
        EngineLimits(
            max_num_seqs=engine.max_num_seqs,
            max_num_batched_tokens=engine.max_num_batched_tokens,
            max_model_len=longest,
            num_blocks=max(kv_cache_tokens, longest + 16) // 16 + 1,
            enable_prefix_caching=False,  # all prompts are the same token over and over
        )
    )
    pending = [(at, i, prompt, output) for i, (at, prompt, output) in enumerate(arrivals)]
    heapq.heapify(pending)
    facts: dict[str, tuple[float, int, int]] = {}
    first: dict[str, float] = {}
    served: list[Served] = []
    number, now = len(pending), 0.0
    while pending or scheduler.has_unfinished():
        if not scheduler.has_unfinished():
            now = max(now, pending[0][0])
        while pending and pending[0][0] <= now:
            at, i, prompt, output = heapq.heappop(pending)
            facts[str(i)] = (at, prompt, output)
            scheduler.add(Request(str(i), [1] * prompt, SamplingParams(output), at))
        step = scheduler.schedule(now)
        now += _seconds(engine, step)
        done = scheduler.update(step, {s.request_id: 7 for s in step.scheduled if s.samples})
        for item in done:
            at, prompt, output = facts[item.request_id]
            first.setdefault(item.request_id, now)
            if item.finish_reason is not None:
                begun = first[item.request_id]
                served.append(
                    Served(begun - at + engine.step.per_request, (now - begun) / max(1, output - 1))
                )
                if again:
                    again -= 1
                    heapq.heappush(pending, (now, number, prompt, output))
                    number += 1
    return served


def _seconds(engine: Engine, step: SchedulerOutput) -> float:
    tokens, pairs, sampled = 0, 0.0, 0
    for item in step.scheduled:
        chunk = len(item.token_ids)
        tokens += chunk
        pairs += chunk * (item.start + (chunk + 1) / 2)
        sampled += item.samples
    return engine.step(tokens, sampled, step.num_context_tokens, pairs)

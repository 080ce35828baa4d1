"""A light tenant beside one that floods: its time to first token, against what it is alone.

Alone and beside the flood take turns on one server, so that both see the same machine. The flood is
a process of its own: what its clients cost in Python must not count as the light tenant's waiting.
"""

import asyncio
import multiprocessing
import random
import statistics
import time

import httpx

from e2e.soak.report import Report, table
from e2e.soak.server import Server

TURNS = 4
"""Of each, alone and beside the flood."""
SECONDS = 20.0
"""Of one turn."""
FLOODING = 100
"""Clients that send one request after another."""
LIGHT_PER_SECOND = 4.0
LIMITS = ("--max-num-seqs=8", "--max-num-batched-tokens=256", "--threads=1")
"""A full step may take no more than two to three times one request's own: see decision 010."""
SETTLING = 3.0
"""Seconds until the flood has filled every place."""
MOST_TIMES = 2.0
TENANT = "x-llm-d-inference-fairness-id"


def _body(chance: random.Random, *, stream: bool) -> dict[str, object]:
    return {
        "prompt": [chance.randrange(8, 2000) for _ in range(chance.randint(50, 200))],
        "max_tokens": chance.randint(20, 60),
        "ignore_eos": True,
        "stream": stream,
    }


async def _flood(url: str, seed: int) -> None:
    async def one(number: int) -> None:
        chance = random.Random(f"{seed} {number}")  # noqa: S311 - reproducible on purpose
        while True:
            body = _body(chance, stream=False)
            await http.post("/v1/completions", json=body, headers={TENANT: "flood"})

    none = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=none) as http:
        await asyncio.gather(*(one(number) for number in range(FLOODING)))


def _run_flood(url: str, seed: int) -> None:
    asyncio.run(_flood(url, seed))


async def _time_to_first_token(http: httpx.AsyncClient, body: dict[str, object]) -> float:
    sent = time.perf_counter()
    headers = {TENANT: "light"}
    async with http.stream("POST", "/v1/completions", json=body, headers=headers) as answer:
        answer.raise_for_status()
        first = 0.0
        async for line in answer.aiter_lines():
            if not first and line.startswith("data:"):
                first = time.perf_counter() - sent
    return first


async def _light(url: str, seconds: float, seed: int) -> list[float]:
    """Seconds to the first token of requests that come at random (Poisson), an open loop."""
    chance = random.Random(seed)  # noqa: S311 - reproducible on purpose
    async with httpx.AsyncClient(base_url=url, timeout=120) as http:
        sent = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            body = _body(chance, stream=True)
            sent.append(asyncio.create_task(_time_to_first_token(http, body)))
            await asyncio.sleep(chance.expovariate(LIGHT_PER_SECOND))
        return list(await asyncio.gather(*sent))


def _beside_flood(server: Server, seed: int) -> list[float]:
    flood = multiprocessing.get_context("spawn").Process(target=_run_flood, args=(server.url, seed))
    flood.start()
    try:
        time.sleep(SETTLING)
        return asyncio.run(_light(server.url, SECONDS, seed))
    finally:
        flood.terminate()
        flood.join()


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(seconds, n=20)
    return statistics.median(seconds), cuts[-1]


def run(seed: int) -> Report:
    """The 95th percentile beside the flood is at most twice what it is alone."""
    report = Report("fairness")
    alone: list[float] = []
    beside: list[float] = []
    with Server(*LIMITS) as server:
        asyncio.run(_light(server.url, SETTLING, seed))  # the first requests warm up
        for turn in range(TURNS):
            alone += asyncio.run(_light(server.url, SECONDS, seed + turn))
            beside += _beside_flood(server, seed + turn)
            if problem := server.why_not_idle(60):
                report.blame(problem)
    rows = []
    for name, seconds in (("alone", alone), ("beside a flood", beside)):
        p50, p95 = _percentiles(seconds)
        rows.append((name, len(seconds), f"{p50 * 1e3:.1f}", f"{p95 * 1e3:.1f}"))
    for line in table(("TTFT, ms", "requests", "p50", "p95"), rows):
        report.say(line)
    times = _percentiles(beside)[1] / _percentiles(alone)[1]
    report.say(f"p95 beside a flood is {times:.2f} times that alone; at most {MOST_TIMES:g} may be")
    if times > MOST_TIMES:
        report.blame(f"{times:.2f} times")
    return report

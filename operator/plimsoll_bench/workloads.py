"""The fixed workloads W1 to W5. Each repetition has the same lengths and times, and new tokens."""

import math
import re
from itertools import islice

from plimsoll_bench.load import Arrivals, Load, Piece, Request
from plimsoll_bench.token_ids import splitmix64

FIXED = ("W1", "W2", "W3", "W4")
DESCRIPTION = {
    "W1": "single stream: a prompt of 128, an answer of 128",
    "W2": "prefill: a prompt of 1024, an answer of 1",
    "W3": "32 requests at once, prompts of 16 to 512, answers of 16 to 256",
    "W4": "32 requests at once that share a prefix of 512, answers of 32",
    "W5": "the lengths of W3, Poisson arrivals for 60 s; W5r2 has 2 a second",
}
W5_SECONDS = 60.0
_W5 = re.compile(r"W5r(\d+(?:\.\d+)?)")
_REPETITION, _WORKLOAD = 10_000, 1_000_000
_PREFIX_TOKENS, _PREFIX_NUMBER = 512, 9_999
_MIX_SEED_W3, _MIX_SEED_W5, _TIMES_SEED = 33, 55, 500


class UnknownWorkloadError(ValueError):
    """There is no workload of that name."""


def workload(name: str, repetition: int) -> Load:
    """The workload of that name. Raises UnknownWorkloadError.

    Request `i` of repetition `r` of the `k`th workload has the seed `k * 1e6 + r * 1e4 + i`.
    """
    if rate := _W5.fullmatch(name):
        return poisson(float(rate[1]), repetition)
    if name not in FIXED:
        raise UnknownWorkloadError(
            f"workload {name!r}: give one of {', '.join(FIXED)}, or W5rN for N requests/s"
        )
    number = FIXED.index(name) + 1
    lengths = {
        "W1": [(128, 128)],
        "W2": [(1024, 1)],
        "W3": mixed_lengths(_MIX_SEED_W3, 32),
        "W4": [(32, 32)] * 32,
    }[name]
    base = number * _WORKLOAD + repetition * _REPETITION
    prefix = (Piece(base + _PREFIX_NUMBER, _PREFIX_TOKENS),) if name == "W4" else ()
    return Load(
        name,
        tuple(
            Request(0.0, (*prefix, Piece(base + index, prompt)), output)
            for index, (prompt, output) in enumerate(lengths)
        ),
    )


def poisson(rate: float, repetition: int, requests: int | None = None) -> Load:
    """W5: `rate` requests a second for a minute, or so many of them."""
    if not rate > 0:
        raise UnknownWorkloadError(f"W5 at {rate:g} requests/s: give a rate above 0")
    # The rates that workloads are published for have small numbers of their own.
    number = {1.0: 5, 2.0: 6}.get(rate, 1000 + round(rate * 1000))
    seed = _TIMES_SEED + (int(rate) if rate.is_integer() else number)
    times = poisson_times(seed, rate, W5_SECONDS, requests)
    base = number * _WORKLOAD + repetition * _REPETITION
    lengths = mixed_lengths(_MIX_SEED_W5, len(times))
    return Load(
        f"W5r{rate:g}",
        tuple(
            Request(at, (Piece(base + index, prompt),), output)
            for index, (at, (prompt, output)) in enumerate(zip(times, lengths, strict=True))
        ),
        Arrivals.POISSON,
        rate=rate,
    )


def mixed_lengths(seed: int, count: int) -> list[tuple[int, int]]:
    """Prompts of 16 to 512 tokens and answers of 16 to 256, uniform."""
    numbers = splitmix64(seed)
    return [(16 + next(numbers) % 497, 16 + next(numbers) % 241) for _ in range(count)]


def poisson_times(
    seed: int, rate: float, seconds: float = math.inf, count: int | None = None
) -> list[float]:
    """Seconds of a Poisson process from 0 on, rounded to 0.1 ms.

    `count` of them where it is given, else all before `seconds`.
    """
    found: list[float] = []
    now = 0.0
    for number in islice(splitmix64(seed), count):
        now -= math.log(1.0 - (number >> 11) / 2.0**53) / rate
        if count is None and now >= seconds:
            break
        found.append(round(now, 4))
    return found

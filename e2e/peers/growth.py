"""How the cost of a decode step grows with sequences and context, and whether anywhere it jumps."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from plimsoll_bench.load import Load, Piece, Request
from plimsoll_bench.record import Record
from plimsoll_bench.traffic import closed
from plimsoll_bench.workloads import poisson

SEQUENCES = (1, 2, 4, 8, 16, 32, 64)
CONTEXTS = (128, 256, 512, 1024, 2048, 4096, 8192)
MOST_TOKENS = 32768
"""Of all sequences of a point together."""
CLIFF = 1.3
"""Times what the neighbours say."""
_STEPS, _LEAST_STEPS = 32, 8
_STEPS_PER_PREFILL = 2
_SEED = 77_000_000
_ROUNDS, _LEAST_REQUESTS = 3, 8


@dataclass(frozen=True, order=True)
class Point:
    """So many sequences at once, each of at most `context` tokens in the end."""

    sequences: int
    context: int


@dataclass(frozen=True)
class Cliff:
    """Where a cost, in any unit, is more than CLIFF times what is `expected`; `line` says of what,
    and `at` where."""

    line: str
    at: int
    cost: float
    expected: float


def grid(most_tokens: int = MOST_TOKENS) -> list[Point]:
    """All points that together hold no more than so many tokens, the cheapest first."""
    points = [Point(sequences, context) for sequences in SEQUENCES for context in CONTEXTS]
    return sorted(
        (each for each in points if each.sequences * each.context <= most_tokens),
        key=lambda each: (each.sequences * each.context, each),
    )


def load(point: Point, step_tokens: int) -> Load:
    """All at once; repeated, the same prompts. The answers are long enough that the first of them
    is not over when the last prompt has been computed, by steps of `step_tokens`."""
    prefills = -(-point.sequences * point.context // step_tokens)
    output = min(_STEPS + _STEPS_PER_PREFILL * prefills, point.context // 2)
    base = _SEED + 10_000 * (point.context + point.sequences)
    prompt = point.context - output
    return Load(
        f"{point.sequences} × {point.context}",
        tuple(
            Request(0.0, (Piece(base + number, prompt),), output)
            for number in range(point.sequences)
        ),
    )


def step_seconds(records: Sequence[Record]) -> float | None:
    """Of a decode step with all sequences in it: the median over them, between the moment when all
    have begun to answer and when the first of them ends. None where that is too short or any
    failed."""
    if not records or any(each.failure or not each.times for each in records):
        return None
    begin = max(each.times[0] for each in records)
    end = min(each.times[-1] for each in records)
    steps = [
        sum(
            count
            for time, count in zip(each.times, each.counts, strict=True)
            if begin < time <= end
        )
        for each in records
    ]
    if min(steps) < _LEAST_STEPS:
        return None
    return statistics.median((end - begin) / each for each in steps)


def concurrent(concurrency: int) -> Load:
    """W5's lengths in a closed loop: as many requests at once, and some times as many in all."""
    count = max(_LEAST_REQUESTS, _ROUNDS * concurrency)
    return closed(poisson(1.0, concurrency, count), concurrency)


def steady_rate(records: Sequence[Record]) -> float | None:
    """Output tokens per second until the last request begins: then places begin to be empty. None
    where any failed."""
    if not records or any(each.failure for each in records):
        return None
    end = max(each.begun for each in records)
    tokens = sum(
        count
        for each in records
        for time, count in zip(each.times, each.counts, strict=True)
        if time <= end
    )
    return tokens / end if end > 0 else None


def cliffs(seconds: Mapping[Point, float], rates: Mapping[int, float]) -> list[Cliff]:
    """Of steps along both axes, and of throughput, which should not fall."""
    found: list[Cliff] = []
    for context in CONTEXTS:
        line = {each.sequences: seconds[each] for each in seconds if each.context == context}
        found += _cliffs(f"context {context}, sequences", line)
    for sequences in SEQUENCES:
        line = {each.context: seconds[each] for each in seconds if each.sequences == sequences}
        found += _cliffs(f"{sequences} sequences, context", line)
    for (_, before), (at, after) in pairwise(sorted(rates.items())):
        if before > CLIFF * after:
            found.append(
                Cliff("seconds per output token, requests at once", at, 1 / after, 1 / before)
            )
    return found


def _cliffs(name: str, line: Mapping[int, float]) -> Iterator[Cliff]:
    points = sorted(line.items())
    for (low, before), (at, cost), (high, after) in zip(
        points, points[1:], points[2:], strict=False
    ):
        expected = before + (after - before) * (at - low) / (high - low)
        if cost > CLIFF * expected:
            yield Cliff(name, at, cost, expected)
    # The last has one neighbour only: so much more work may take so many times as long.
    for (low, before), (at, cost) in list(pairwise(points))[-1:]:
        if cost > CLIFF * before * at / low:
            yield Cliff(name, at, cost, before * at / low)

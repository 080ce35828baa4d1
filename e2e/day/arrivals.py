"""Pure: the requests of a compressed day."""

import json
import random
from collections.abc import Sequence
from typing import NamedTuple

from e2e.day.shape import Shape
from e2e.support.traffic import Arrival


class Lengths(NamedTuple):
    """Tokens of a request's prompt and answer."""

    prompt: int
    output: int


def parse_lengths(text: str) -> tuple[Lengths, ...]:
    """Of a trace in JSON lines. Raises KeyError and ValueError for another."""
    rows = [json.loads(line) for line in text.splitlines() if line]
    return tuple(Lengths(int(row["prompt_tokens"]), int(row["output_tokens"])) for row in rows)


def arrivals(
    shape: Shape, lengths: Sequence[Lengths], seconds: float, peak: float, seed: int
) -> tuple[Arrival, ...]:
    """A Poisson process whose rate follows `shape`, compressed to `seconds`; at its largest `peak`
    requests a second.

    By thinning: Lewis and Shedler, "Simulation of nonhomogeneous Poisson processes by thinning",
    1979. Lengths are drawn from `lengths`, prompt and answer together.
    """
    random_ = random.Random(seed)  # noqa: S311
    found: list[Arrival] = []
    at = random_.expovariate(peak)
    while at < seconds:
        if random_.random() < shape.at(at / seconds):
            chosen = random_.choice(lengths)
            found.append(Arrival(round(at, 3), chosen.prompt, chosen.output))
        at += random_.expovariate(peak)
    return tuple(found)


def most_in_a_window(requests: Sequence[Arrival], width: float) -> float:
    """Requests a second in the fullest stretch of `width` seconds."""
    times = [request.at for request in requests]
    first, most = 0, 0
    for last, at in enumerate(times):
        while times[first] < at - width:
            first += 1
        most = max(most, last - first + 1)
    return most / width

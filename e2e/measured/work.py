"""What the server's process and its client do for a stretch of traffic, and a fit of it.

In this harness the two share a core, which is the frontend that is simulated: one for all that
passes between who waits for tokens and the engine.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import compress, product
from typing import NamedTuple

from plimsoll_planner.linear import solve

HUBER = 1.5
ROUNDS = 8


class Work(NamedTuple):
    """Requests, tokens of their prompts, steps that the engine took, events of the answers, tokens
    in these, seconds that it lasted, and CPU seconds of the server's process and of the client."""

    requests: int
    prompt_tokens: int
    steps: int
    events: int
    tokens: int
    seconds: float
    server: float
    client: float

    @property
    def counts(self) -> tuple[float, ...]:
        """What the CPU seconds are in proportion to, in the order of `WorkTime`."""
        return (
            self.requests,
            self.prompt_tokens,
            self.steps,
            self.events,
            self.tokens,
            self.seconds,
        )

    @property
    def cpu_seconds(self) -> float:
        """Of both processes."""
        return self.server + self.client


class WorkTime(NamedTuple):
    """CPU seconds of each; `second` is what runs whatever is asked for."""

    request: float
    prompt_token: float
    step: float
    event: float
    token: float
    second: float


NOTHING = WorkTime(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def fit(work: Sequence[Work]) -> WorkTime:
    """None of them negative, by least squares with Huber's weights (1964).

    What varies are single requests and steps, so that the variance of a sum of them is in
    proportion to it. Raises ValueError where there is no work at all.
    """
    used = [each for each in work if each.cpu_seconds > 0]
    if not used:
        raise ValueError("no CPU time was measured: is there /proc/PID/task/*/schedstat?")
    weights = [each.cpu_seconds for each in used]
    found = NOTHING
    for _ in range(ROUNDS):
        found = _least_squares(used, weights)
        errors = [abs(_error(found, each)) * math.sqrt(each.cpu_seconds) for each in used]
        limit = HUBER * 1.4826 * statistics.median(errors)
        weights = [
            each.cpu_seconds * (limit / error if error > limit else 1.0)
            for error, each in zip(errors, used, strict=True)
        ]
    return found


def _error(time: WorkTime, work: Work) -> float:
    expected = sum(each * count for each, count in zip(time, work.counts, strict=True))
    return expected / work.cpu_seconds - 1


def _least_squares(work: Sequence[Work], weights: Sequence[float]) -> WorkTime:
    """Of relative errors with these weights: the best of all solutions with some of the terms,
    which are so few that all can be tried."""
    rows = [[count / each.cpu_seconds for count in each.counts] for each in work]
    scales = [max(row[i] for row in rows) or 1.0 for i in range(len(WorkTime._fields))]
    best, least = NOTHING, math.inf
    for terms in product((True, False), repeat=len(scales)):
        columns = list(compress(range(len(scales)), terms))
        scaled = [[row[i] / scales[i] for i in columns] for row in rows]
        try:
            values = solve(*_normal(scaled, weights))
        except ValueError:
            continue
        if any(value < 0 for value in values):
            continue
        whole = [0.0] * len(scales)
        for column, value in zip(columns, values, strict=True):
            whole[column] = value / scales[column]
        found = WorkTime(*whole)
        cost = sum(w * _error(found, each) ** 2 for w, each in zip(weights, work, strict=True))
        if cost < least:
            best, least = found, cost
    return best


def _normal(
    rows: Sequence[Sequence[float]], weights: Sequence[float]
) -> tuple[list[list[float]], list[float]]:
    """The normal equations of `rows · x = 1`."""
    size = range(len(rows[0]))
    weighed = list(zip(weights, rows, strict=True))
    matrix = [[sum(w * row[i] * row[k] for w, row in weighed) for k in size] for i in size]
    return matrix, [sum(w * row[i] for w, row in weighed) for i in size]


def work_of(plain: Iterable[Sequence[float]]) -> tuple[Work, ...]:
    """From lists of numbers."""
    return tuple(Work(*map(int, each[:5]), *each[5:]) for each in plain)

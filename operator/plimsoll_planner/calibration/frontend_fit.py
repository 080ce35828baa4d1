"""Fits the frontend's seconds to the CPU seconds of the process that it is.

CPU seconds grow by what the process does, whoever else uses the machine, and what it does can be
counted: so the fit is of a line without a constant, no term below zero, by least squares of
relative errors. What varies are single requests and messages, so that the variance of a sum of them
is in proportion to it. Huber's weights (1964) keep single slow stretches from pulling; those that
are then further off than `OUTLIER` robust standard deviations are rejected.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress, product
from typing import NamedTuple

from plimsoll_planner.calibration.fit import CalibrationError
from plimsoll_planner.calibration.frontend_work import Work
from plimsoll_planner.calibration.linear import invert, solve
from plimsoll_planner.performance.frontend_time import FrontendTime

MIN_STRETCHES = 20
"""Fewest stretches with requests that a fit can be trusted by, and fewest requests in them."""
OUTLIER = 4.0
MOST_REJECTED = 0.3
"""Share of the stretches that may be rejected."""
LARGEST_ERROR = 0.4
"""Median relative error of stretches from which on a fit says that it is none."""
MOST = FrontendTime(0.2, 1e-3, 0.02, 0.02, 0.02, 0.0, 0.0)
"""Slower than any server: another process was measured, or a debugger was at work."""
_HUBER, _ROUNDS = 1.5, 8
_ROBUST = 1.4826
_EXACT = 1e-9
_NOISE = 0.01
"""Least relative noise of a stretch of a second."""
_PRIOR = 1.0
"""Standard deviation of a term's share of a stretch before anything is measured."""
_DETERMINED = 0.35
"""Relative standard deviation up to which stretches determine what a request or a token takes."""


class WorkTime(NamedTuple):
    """CPU seconds of each; `second` is what runs whatever is asked for."""

    request: float
    prompt_token: float
    message: float
    event: float
    token: float
    second: float

    def of(self, work: Work) -> float:
        """CPU seconds of all that."""
        return sum(each * count for each, count in zip(self, work.counts, strict=True))

    @property
    def frontend(self) -> FrontendTime:
        """With all of a request's work before its first token, as CPU seconds do not tell what
        comes after the last."""
        return FrontendTime(*self[:5], end=0.0, latency=0.0)


@dataclass(frozen=True)
class FrontendFit:
    """What was fitted. `error` is the median relative error of the stretches with requests or
    tokens that were kept; `stretches` is how many were."""

    time: FrontendTime
    error: float
    stretches: int


NOTHING = WorkTime(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def fit(work: Iterable[Work]) -> WorkTime:
    """None of the terms negative. Raises ValueError where there is no work at all."""
    used = [each for each in work if each.cpu_seconds > 0]
    if not used:
        raise ValueError("no CPU time was measured")
    weights = [each.cpu_seconds for each in used]
    found = NOTHING
    for _ in range(_ROUNDS):
        before, found = found, _Normal.of(used, weights).best()
        if found == before:
            break
        errors = _errors(found, used)
        limit = _HUBER * max(_EXACT, _ROBUST * statistics.median(errors))
        weights = [
            each.cpu_seconds * (limit / error if error > limit else 1.0)
            for error, each in zip(errors, used, strict=True)
        ]
    return found


def measured(work: Sequence[Work]) -> FrontendFit:
    """The frontend that a process was. Raises CalibrationError where no fit can be trusted."""
    busy = [each for each in work if each.cpu_seconds > 0 and each.is_busy]
    requests = sum(each.requests for each in busy)
    if len(busy) < MIN_STRETCHES or requests < MIN_STRETCHES:
        raise CalibrationError(
            f"{requests} requests in {len(busy)} stretches of time, {MIN_STRETCHES} of each needed"
        )
    used = [each for each in work if each.cpu_seconds > 0]
    errors = _errors(fit(used), used)
    limit = OUTLIER * max(_NOISE, _ROBUST * statistics.median(errors))
    kept = [each for each, error in zip(used, errors, strict=True) if error <= limit]
    if len(used) - len(kept) > MOST_REJECTED * len(used):
        raise CalibrationError(
            f"{len(used) - len(kept)} of {len(used)} stretches of time are far from any fit"
        )
    found = fit(kept)
    error = off(found.frontend, kept, found.second)
    if error > LARGEST_ERROR:
        raise CalibrationError(f"the best fit of the server's CPU time is off by {error:.0%}")
    _check_determined(found, kept)
    if any(each > most for each, most in zip(found, _most(), strict=False)):
        raise CalibrationError("the server's CPU time is more than a server's can be")
    return FrontendFit(found.frontend, error, len(kept))


def off(time: FrontendTime, work: Iterable[Work], second: float | None = None) -> float:
    """Median relative error of `time` on stretches with requests or tokens; infinite without any.
    Where what runs in any case, by the `second`, is not known it is what fits best."""
    busy = [each for each in work if each.is_busy and each.cpu_seconds > 0]
    known = WorkTime(
        time.request + time.end, time.prompt_token, time.message, time.event, time.token, 0.0
    )
    if not busy:
        return math.inf
    if second is None:
        second = max(
            0.0,
            statistics.median((each.cpu_seconds - known.of(each)) / each.seconds for each in busy),
        )
    whole = known._replace(second=second)
    return statistics.median(abs(whole.of(each) / each.cpu_seconds - 1) for each in busy)


def _most() -> tuple[float, ...]:
    return (MOST.request, MOST.prompt_token, MOST.message, MOST.event, MOST.token)


def _errors(time: WorkTime, work: Sequence[Work]) -> list[float]:
    """Relative errors, each as if its stretch had taken a second of CPU time."""
    return [
        abs(time.of(each) / each.cpu_seconds - 1) * math.sqrt(each.cpu_seconds) for each in work
    ]


def _check_determined(found: WorkTime, work: Sequence[Work]) -> None:
    """Raises CalibrationError where the stretches are so much alike that what a request takes, or a
    token of an answer, could as well be otherwise: then one takes all the blame."""
    busy = [each for each in work if each.is_busy]
    noise = max(_NOISE, _ROBUST * statistics.median(_errors(found, busy)))
    weights = [each.cpu_seconds / noise**2 for each in work]
    normal = _Normal.of(work, weights)
    spread = normal.spread()
    requests, messages, tokens = (
        max(1, sum(each[i] for each in busy))
        for i in (Work._fields.index(name) for name in ("requests", "messages", "tokens"))
    )
    prompt = sum(each.prompt_tokens for each in busy) / requests
    together = tokens / messages
    whole = found.message + together * (found.event + found.token)
    for name, terms, of in (
        (
            "a request",
            (1.0, prompt, 0.0, 0.0, 0.0, 0.0),
            found.request + prompt * found.prompt_token,
        ),
        ("a token", (0.0, 0.0, 0.0, 1.0, 1.0, 0.0), whole / together),
    ):
        scaled = [term / scale for term, scale in zip(terms, normal.scales, strict=True)]
        size = range(len(scaled))
        variance = sum(scaled[i] * spread[i][k] * scaled[k] for i in size for k in size)
        if math.sqrt(max(0.0, variance)) > _DETERMINED * of:
            raise CalibrationError(
                f"the traffic is too much alike: it does not tell what {name} takes of the server"
            )


@dataclass(frozen=True)
class _Normal:
    """The normal equations of `rows · x = 1` with weights, for terms that are scaled so that the
    largest of a column is 1."""

    matrix: list[list[float]]
    right: list[float]
    scales: list[float]

    @classmethod
    def of(cls, work: Sequence[Work], weights: Sequence[float]) -> "_Normal":
        rows = [[count / each.cpu_seconds for count in each.counts] for each in work]
        size = range(len(WorkTime._fields))
        scales = [max(row[i] for row in rows) or 1.0 for i in size]
        weighed = [
            (w, [row[i] / scales[i] for i in size]) for w, row in zip(weights, rows, strict=True)
        ]
        matrix = [[sum(w * row[i] * row[k] for w, row in weighed) for k in size] for i in size]
        return cls(matrix, [sum(w * row[i] for w, row in weighed) for i in size], scales)

    def best(self) -> WorkTime:
        """The best of all solutions with some of the terms that have none below zero; they are so
        few that all can be tried."""
        best, least = NOTHING, 0.0
        size = len(self.right)
        for terms in product((True, False), repeat=size):
            columns = list(compress(range(size), terms))
            right = [self.right[i] for i in columns]
            try:
                values = solve([[self.matrix[i][k] for k in columns] for i in columns], right)
            except ValueError:
                continue
            if any(value < 0 for value in values):
                continue
            # At a solution of the normal equations squares are less than without any term by this.
            cost = -sum(value * each for value, each in zip(values, right, strict=True))
            if cost < least:
                whole = [0.0] * size
                for column, value in zip(columns, values, strict=True):
                    whole[column] = value / self.scales[column]
                best, least = WorkTime(*whole), cost
        return best

    def spread(self) -> list[list[float]]:
        """Covariance of the scaled terms, where the weights are one over variances. A term whose
        largest share of a stretch is all of it cannot be far above 1, whatever is not measured."""
        size = range(len(self.right))
        return invert([[self.matrix[i][k] + (i == k) / _PRIOR**2 for k in size] for i in size])

"""Fits an accelerator's efficiencies to the steps that an engine measured.

The parameters are the shares of peak compute and bandwidth, the seconds of a step and those of a
sequence, on `cpu` also the shares that attention reaches. They are sought in the logarithm, around
what the catalogue says, by Gauss-Newton steps with Levenberg's damping on the logarithm of
predicted over measured time, so that every step counts by its relative error. Huber's weights
(1964) keep single slow steps (a garbage collection, a neighbour on the machine, a first
compilation) from pulling; what is then further off than `OUTLIER` robust standard deviations
(1.4826 · median absolute residual) is rejected. A weak prior holds what the steps say nothing of: a
log of decode steps alone cannot tell compute. Which parameters the steps determine is part of the
answer.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from plimsoll_planner.calibration.fit_parameters import before, bounds, changed_by, parameters
from plimsoll_planner.calibration.linear import invert, solve
from plimsoll_planner.model_facts import ModelFacts
from plimsoll_planner.performance.roofline import step_time
from plimsoll_planner.performance.step_time import StepTime
from plimsoll_planner.search.shape import Shape

MIN_SAMPLES = 30
"""Fewest steps that a fit is made of."""
OUTLIER = 4.0
MOST_REJECTED = 0.3
"""Share of the steps that may be rejected before the fit says that the model does not describe
them."""
LARGEST_ERROR = 0.4
"""Median relative error from which on a fit says that it is none. Steps of half a millisecond on a
share of a core are off by 0.2 to 0.3 from one to the next; their mean is known none the less."""
_HUBER = 1.5
_PRIOR = 1.0
"""Standard deviation of a parameter's logarithm before anything is measured: a factor of e."""
_DETERMINED = 0.35
"""Standard deviation of the logarithm up to which the steps determine a parameter."""
_NOISE = 0.01
"""Least relative noise of a measured step."""
_ROUNDS, _STEPS, _DIFFERENCE, _SETTLED = 20, 12, 1e-4, 1e-3
_NOT_MEASURED = (
    "the model, the accelerator or the parallelism given are not what was measured, or others used "
    "the machine"
)


class CalibrationError(Exception):
    """No fit can be trusted; the message says why and what to do."""


@dataclass(frozen=True)
class Sample:
    """A measured step: new tokens, sequences, context tokens in sum, seconds; also the products of
    a query with a context token, where the engine tells them."""

    tokens: int
    sequences: int
    context: int
    seconds: float
    told_pairs: int | None = None

    @property
    def pairs(self) -> float:
        """As told, or else as far as the sums tell: a sequence alone has computed the rest of its
        context before; else it is a token for each sequence, and the others as one prompt from its
        beginning."""
        if self.told_pairs is not None:
            return self.told_pairs
        if self.sequences == 1:
            return self.tokens * (self.context - self.tokens) + self.tokens * (self.tokens + 1) / 2
        prompt = max(0, self.tokens - self.sequences)
        return self.context + prompt * prompt / 2


@dataclass(frozen=True)
class Calibration:
    """What was fitted. Shares of peak; seconds.

    `error` is the median and `error_p90` the 90th percentile of the relative errors of the steps
    that were kept; `rejected` were not. `determined` are the parameters that the steps tell; the
    others are as they were. `attention` and `kv_cache` are those of `cpu`, else None.
    """

    compute: float
    bandwidth: float
    step_seconds: float
    sequence_seconds: float
    error: float
    error_p90: float
    samples: int
    rejected: int
    determined: tuple[str, ...]
    attention: float | None = None
    kv_cache: float | None = None


def calibrate(facts: ModelFacts, shape: Shape, samples: Sequence[Sample]) -> Calibration:
    """The calibration of `shape`'s accelerator that `samples` of this model give.

    Raises CalibrationError where they are too few or the model does not describe them.
    """
    usable = [s for s in samples if s.seconds > 0 and s.tokens > 0 and s.sequences > 0]
    if len(usable) < MIN_SAMPLES:
        raise CalibrationError(
            f"{len(usable)} steps measured, {MIN_SAMPLES} needed: let the engine serve some traffic"
        )
    fit = _Fit(facts, shape, tuple(usable))
    values = list(fit.prior)
    kept = usable
    for _ in range(_ROUNDS):
        before, values = values, fit.improved(values, kept)
        residuals = fit.residuals(values, usable)
        limit = OUTLIER * _scale(residuals)
        inside = [s for s, r in zip(usable, residuals, strict=True) if abs(r) <= limit]
        moved = max(abs(now - then) for now, then in zip(values, before, strict=True))
        if inside == kept and moved < _SETTLED:
            break
        kept = inside
    rejected = len(usable) - len(kept)
    if rejected > MOST_REJECTED * len(usable):
        raise CalibrationError(
            f"{rejected} of {len(usable)} steps are far from any fit: {_NOT_MEASURED}"
        )
    errors = sorted(abs(math.expm1(r)) for r in fit.residuals(values, kept))
    if statistics.median(errors) > LARGEST_ERROR:
        raise CalibrationError(
            f"the best fit is off by {statistics.median(errors):.0%}: {_NOT_MEASURED}"
        )
    return Calibration(
        **fit.named(values),
        error=statistics.median(errors),
        error_p90=errors[int(0.9 * (len(errors) - 1))],
        samples=len(kept),
        rejected=rejected,
        determined=fit.determined(values, kept),
    )


def prior_values(facts: ModelFacts, shape: Shape) -> dict[str, float]:
    """What holds before anything is measured, by parameter."""
    fit = _Fit(facts, shape, ())
    return fit.named(fit.prior)


def calibrated(shape: Shape, found: Calibration) -> Shape:
    """`shape` with the parameters of `found` that the steps determined."""
    told = {name: getattr(found, name) for name in found.determined}
    accelerator = changed_by(shape.accelerator, told)
    efficiency = replace(accelerator.efficiency, error=found.error)
    return replace(shape, accelerator=replace(accelerator, efficiency=efficiency))


@dataclass(frozen=True)
class _Fit:
    """The problem: logarithms of the parameters that make step times of `samples` come out."""

    facts: ModelFacts
    shape: Shape
    samples: tuple[Sample, ...]

    @property
    def prior(self) -> tuple[float, ...]:
        """What holds until something is measured, within the bounds."""
        known = before(self.shape)
        return tuple(self._bounded([math.log(max(1e-9, value)) for value in known.values()]))

    def named(self, values: Sequence[float]) -> dict[str, float]:
        """Parameters by name, from their logarithms."""
        return {
            name: math.exp(value)
            for name, value in zip(parameters(self.shape), values, strict=True)
        }

    def step(self, values: Sequence[float]) -> StepTime:
        """The step times with these parameters."""
        changed = changed_by(self.shape.accelerator, self.named(values))
        return step_time(self.facts, replace(self.shape, accelerator=changed))

    def residuals(self, values: Sequence[float], samples: Sequence[Sample]) -> list[float]:
        """Logarithms of predicted over measured seconds."""
        step = self.step(values)
        return [
            math.log(step(s.tokens, s.sequences, s.context, s.pairs) / s.seconds) for s in samples
        ]

    def improved(self, values: Sequence[float], samples: Sequence[Sample]) -> list[float]:
        """`values` after some damped steps towards the least weighted squares."""
        best = list(values)
        residuals = self.residuals(best, samples)
        weights, noise = _weights(residuals)
        cost, damping = self._cost(best, residuals, weights, noise), 1e-3
        for _ in range(_STEPS):
            normal, gradient = self._normal(best, samples, residuals, weights, noise)
            for i in range(len(best)):
                normal[i][i] *= 1 + damping
            change = solve(normal, gradient)
            tried = self._bounded([v - c for v, c in zip(best, change, strict=True)])
            found = self.residuals(tried, samples)
            lower = self._cost(tried, found, weights, noise)
            if lower < cost:
                done = cost - lower < 1e-9 * cost
                best, residuals, cost, damping = tried, found, lower, damping / 4
                if done:
                    break
            else:
                damping *= 8
        return best

    def determined(self, values: Sequence[float], samples: Sequence[Sample]) -> tuple[str, ...]:
        """Parameters whose standard deviation, by the fit's curvature, is small, and those that the
        steps pulled further from what held before than can be believed of chance."""
        residuals = self.residuals(values, samples)
        weights, noise = _weights(residuals)
        normal, _ = self._normal(values, samples, residuals, weights, noise)
        spread = invert(normal)
        return tuple(
            name
            for i, (name, value, expected) in enumerate(
                zip(parameters(self.shape), values, self.prior, strict=True)
            )
            if math.sqrt(spread[i][i]) <= _DETERMINED or abs(value - expected) > _PRIOR
        )

    def _normal(
        self,
        values: Sequence[float],
        samples: Sequence[Sample],
        residuals: Sequence[float],
        weights: Sequence[float],
        noise: float,
    ) -> tuple[list[list[float]], list[float]]:
        size = len(values)
        slopes = []
        for i in range(size):
            moved = list(values)
            moved[i] += _DIFFERENCE
            changed = self.residuals(moved, samples)
            slopes.append([(c - r) / _DIFFERENCE for c, r in zip(changed, residuals, strict=True)])
        certain = 1 / noise**2
        normal = [
            [
                certain * sum(w * a * b for w, a, b in zip(weights, x, y, strict=True))
                for y in slopes
            ]
            for x in slopes
        ]
        gradient = [
            certain * sum(w * a * r for w, a, r in zip(weights, x, residuals, strict=True))
            for x in slopes
        ]
        for i, expected in enumerate(self.prior):
            normal[i][i] += 1 / _PRIOR**2
            gradient[i] += (values[i] - expected) / _PRIOR**2
        return normal, gradient

    def _cost(
        self,
        values: Sequence[float],
        residuals: Sequence[float],
        weights: Sequence[float],
        noise: float,
    ) -> float:
        data = sum(w * r * r for w, r in zip(weights, residuals, strict=True)) / noise**2
        prior = sum((v - b) ** 2 for v, b in zip(values, self.prior, strict=True)) / _PRIOR**2
        return data + prior

    def _bounded(self, values: Sequence[float]) -> list[float]:
        return [
            min(max(value, math.log(low)), math.log(high))
            for value, (low, high) in zip(values, bounds(self.shape), strict=True)
        ]


def _scale(residuals: Sequence[float]) -> float:
    """Robust standard deviation, not below the noise of any clock."""
    return max(_NOISE, 1.4826 * statistics.median(abs(r) for r in residuals))


def _weights(residuals: Sequence[float]) -> tuple[list[float], float]:
    """Huber's weights, and the scale that they are relative to."""
    scale = _scale(residuals)
    limit = _HUBER * scale
    return [1.0 if abs(r) <= limit else limit / abs(r) for r in residuals], scale

"""A trial that is simulated only as far as what is asked of it.

Most trials fail, and that shows before their end: a 95th percentile is above a limit as soon as
more than a twentieth of all requests are. What is asked afterwards goes on where it stopped, so
that the figures are those of a whole simulation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from heapq import nlargest

from plimsoll_planner.inputs import Objectives
from plimsoll_planner.performance.step_time import StepSeconds, StepTime
from plimsoll_planner.search.options import HEADROOM
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.simulator import Run, Simulation
from plimsoll_planner.simulation.summary import percentile

_ROUNDING = 1 - 1e-9
"""Of a bound, whose sums are taken in another order than a simulation's."""


@dataclass(frozen=True)
class Measured:
    """What a replica did at `rate` requests per second. Seconds; errors of the 95th percentiles
    are shares, None where there are too few requests to say. `keeps_up` is whether requests did not
    wait for ever longer."""

    rate: float
    requests: int
    ttft_p50: float
    ttft_p95: float
    tpot_p50: float
    tpot_p95: float
    queue_p95: float
    ttft_error: float | None
    tpot_error: float | None
    keeps_up: bool

    def keeps(self, promised: Objectives) -> bool:
        """Whether it keeps up, and both latencies are as promised, headroom included."""
        ttft, tpot = limits(promised)
        return self.keeps_up and self.ttft_p95 <= ttft and self.tpot_p95 <= tpot

    def breaks(self, promised: Objectives) -> bool:
        """The contrary."""
        return not self.keeps(promised)


@dataclass(frozen=True)
class Least:
    """What 95th percentiles of latencies are at least, in seconds."""

    ttft_p95: float = 0.0
    tpot_p95: float = 0.0

    def breaks(self, promised: Objectives) -> bool:
        """Whether that is more than promised, headroom included."""
        ttft, tpot = limits(promised)
        return self.ttft_p95 > ttft or self.tpot_p95 > tpot


def limits(promised: Objectives) -> tuple[float, float]:
    """The 95th percentiles of TTFT and TPOT that a plan may have; infinite where none is promised.
    Seconds."""
    ttft, tpot, share = promised.ttft_p95, promised.tpot_p95, 1 - HEADROOM
    return (math.inf if ttft is None else ttft * share, math.inf if tpot is None else tpot * share)


def alone(step: StepSeconds, measured: list[Arrival]) -> Least:
    """What these requests need where each has a replica to itself, without a prefix cache.

    No traffic makes that less: more tokens, sequences and context in a step make it longer, and a
    prompt in parts takes no less than in one step, if a context token costs at least what a further
    product of a query with it does. Nothing is said of step times that this may not hold for, and
    of TPOT nothing behind a frontend: tokens that waited there come together.
    """
    if not isinstance(step, StepTime) or not measured:
        return Least()
    if step.per_window_context or step.per_context < step.per_pair:
        return Least()
    prompt = percentile(sorted(each.prompt_tokens for each in measured), 0.95)
    # Its steps have contexts from the prompt's to all of it, by which their time grows evenly.
    contexts = sorted(
        each.prompt_tokens + each.output_tokens / 2 for each in measured if each.output_tokens > 1
    )
    own = step(prompt, 1, prompt, prompt * (prompt + 1) / 2)
    if step.frontend is not None:
        return Least(_ROUNDING * (step.frontend.request + own))
    return Least(
        _ROUNDING * (step.per_request + own),
        _ROUNDING * step.decode(1, percentile(contexts, 0.95)) if contexts else 0.0,
    )


class Attempt:
    """A trial of at most `count` requests at `rate` a second, of which `least` is known beforehand;
    `figures` makes of the simulation what it showed."""

    def __init__(
        self,
        rate: float,
        count: int,
        least: Least,
        simulation: Simulation,
        figures: Callable[[Run], Measured],
    ) -> None:
        self.rate = rate
        # Of fewer requests fewer may be above a limit, so that this many are too many in any case.
        self._too_many = count - math.ceil(0.95 * count) + 2
        self._least = least
        self._simulation = simulation
        self._figures = figures
        self._ttft: list[float] = []
        self._tpot: list[float] = []
        self._measured: Measured | None = None

    @property
    def measured(self) -> Measured:
        """What it showed in the end."""
        while self._measured is None:
            self._go_on()
        return self._measured

    def keeps(self, promised: Objectives) -> bool:
        """As `Measured.keeps`."""
        if self._least.breaks(promised):
            return False
        ttft, tpot = limits(promised)
        slow, seldom = self._above(ttft, tpot)
        while self._measured is None and max(slow, seldom) < self._too_many:
            known = len(self._ttft), len(self._tpot)
            self._go_on()
            more = self._above(ttft, tpot, *known)
            slow, seldom = slow + more[0], seldom + more[1]
        return self._measured is not None and self._measured.keeps(promised)

    def at_least(self) -> Least:
        """What the percentiles are at least, as far as it went."""
        least, rank = self._least, self._too_many
        ttft, tpot = (nlargest(rank, seen) for seen in (self._ttft, self._tpot))
        return Least(
            max(least.ttft_p95, ttft[-1] if len(ttft) == rank else 0.0),
            max(least.tpot_p95, tpot[-1] if len(tpot) == rank else 0.0),
        )

    def _above(self, ttft: float, tpot: float, first: int = 0, second: int = 0) -> tuple[int, int]:
        return (
            sum(each > ttft for each in self._ttft[first:]),
            sum(each > tpot for each in self._tpot[second:]),
        )

    def _go_on(self) -> None:
        try:
            served = next(self._simulation)
        except StopIteration as ended:
            self._measured = self._figures(ended.value)
            return
        self._ttft += [each.ttft for each in served]
        self._tpot += [each.tpot for each in served if each.tpot is not None]

"""From what a person asks for to loads."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from plimsoll_bench.load import Arrivals, Load
from plimsoll_bench.traffic import at_poisson_rate, at_trace_rate, closed, trace_load
from plimsoll_bench.workloads import UnknownWorkloadError, poisson, workload
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.trace import mean_rate

MIXED = "W5"
LEAST_REQUESTS = 40


class WantedError(ValueError):
    """What is asked for does not go together; one line with the way out."""


@dataclass(frozen=True)
class Trace:
    """Recorded requests, already cut to size."""

    name: str
    requests: Sequence[Arrival]


@dataclass(frozen=True)
class Wanted:
    """Which work, and when it comes. None is what the work itself says.

    `rate` is in requests per second, `scale` times the trace's own, `requests` the most of them.
    """

    workloads: tuple[str, ...]
    trace: Trace | None = None
    arrivals: Arrivals | None = None
    rate: float | None = None
    scale: float | None = None
    concurrency: int | None = None
    requests: int | None = None
    repetitions: int = 3
    first_repetition: int = 1

    def loads(self) -> Iterator[tuple[int, Load]]:
        """Every repetition of all, numbered. Raises WantedError before the first."""
        self._check()
        for name in self.workloads:
            for number in range(self.repetitions):
                repetition = self.first_repetition + number
                yield repetition, self._load(name, repetition)

    def at_rate(self, rate: float, seconds: float, repetition: int) -> Load:
        """The only work for so long at one point of a ramp, and at least `requests` of it: fewer
        would end before a queue shows, however high the rate. Raises WantedError.
        """
        if self.arrivals is Arrivals.CLOSED or self.workloads not in ((MIXED,), self._trace_names):
            raise WantedError(f"--ramp takes {MIXED} or a trace, and no closed loop")
        count = max(self.requests or LEAST_REQUESTS, math.ceil(rate * seconds))
        point = replace(self, rate=rate, scale=None, requests=count)
        return point._load(self.workloads[0], repetition)

    @property
    def _trace_names(self) -> tuple[str, ...]:
        return () if self.trace is None else (self.trace.name,)

    def _load(self, name: str, repetition: int) -> Load:
        load = self._base(name, repetition)
        if self.arrivals is Arrivals.POISSON and load.arrivals is not Arrivals.POISSON:
            load = at_poisson_rate(load, self.rate or self._own_rate())
        if self.arrivals is Arrivals.CLOSED:
            load = closed(load, self.concurrency or 1)
        return replace(load, name=self._name(load))

    def _base(self, name: str, repetition: int) -> Load:
        if self.trace is not None:
            requests = self.trace.requests[: self.requests]
            try:
                timed = at_trace_rate(requests, self.rate, self.scale)
            except ValueError as error:
                raise WantedError(f"{self.trace.name}: {error}") from error
            return replace(trace_load(self.trace.name, timed, repetition), rate=self.rate)
        try:
            if name == MIXED:
                count = self.requests
                if self.arrivals is Arrivals.CLOSED:
                    load = poisson(1.0, repetition, count or LEAST_REQUESTS)
                    return replace(load, name=MIXED)
                return poisson(self.rate or 1.0, repetition, count)
            load = workload(name, repetition)
        except UnknownWorkloadError as error:
            raise WantedError(str(error)) from error
        return replace(load, requests=load.requests[: self.requests])

    def _own_rate(self) -> float:
        if self.trace is None:
            raise WantedError("--arrivals poisson needs --rate")
        return mean_rate(self.trace.requests) * (self.scale or 1.0)

    def _name(self, load: Load) -> str:
        parts = [load.name]
        if self.trace is not None and load.rate is not None:
            parts.append(f"at {load.rate:.4g}/s")
        elif self.trace is not None and self.scale is not None:
            parts.append(f"at {self.scale:g} times its rate")
        if load.arrivals is Arrivals.CLOSED:
            parts.append(f"{load.concurrency} at once")
        elif self.arrivals is Arrivals.POISSON and self.trace is not None:
            parts.append("Poisson")
        return " ".join(parts)

    def _check(self) -> None:
        is_closed, poisson_wanted = (
            self.arrivals is Arrivals.CLOSED,
            self.arrivals is Arrivals.POISSON,
        )
        timed = [name for name in self.workloads if name != MIXED]
        for wrong, message in (
            (
                is_closed != (self.concurrency is not None),
                "--arrivals closed and --concurrency go together",
            ),
            (
                self.rate is not None and self.scale is not None,
                "--rate and --scale: give one of them",
            ),
            (
                is_closed and (self.rate is not None or self.scale is not None),
                "--arrivals closed has no rate: requests go when a place is free",
            ),
            (
                self.trace is None and self.scale is not None,
                "--scale is of a trace's own rate: name one with --trace",
            ),
            (
                self.trace is None and self.arrivals is Arrivals.TRACE,
                "--arrivals trace needs --trace",
            ),
            (
                self.trace is None and self.rate is not None and bool(timed) and not poisson_wanted,
                f"--rate: {''.join(timed[:1])} has its own times; take {MIXED}, or add "
                "--arrivals poisson",
            ),
            (
                self.trace is None
                and MIXED in self.workloads
                and self.rate is None
                and not is_closed,
                f"{MIXED} has no rate of its own: give --rate, or {MIXED}r2 for 2 a second",
            ),
        ):
            if wrong:
                raise WantedError(message)

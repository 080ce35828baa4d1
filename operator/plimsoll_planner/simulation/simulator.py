"""Traffic through one replica or several: what every request and the steps were like."""

import heapq
import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import cast

from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.random_traffic import stream
from plimsoll_planner.simulation.replica import Replica, ReplicaModel, Served, Step
from plimsoll_planner.simulation.step_totals import StepTotals

EXTRA = 0.5
"""Requests that may follow those measured, as a share of them, so that the last of these too are
served under load. Without a bound one that starves would never let the simulation end."""


class Routing(Enum):
    """Which replica a request goes to: `RANDOM`, as a Service does where each request has its own
    connection, or `LEAST_LOADED`, as a gateway does that knows how many each has."""

    RANDOM = "random"
    LEAST_LOADED = "least-loaded"


@dataclass(frozen=True)
class Window:
    """Which requests are measured: `count`, or all that come if None, after the first `skip`, which
    bring the replicas to a steady state."""

    skip: int = 0
    count: int | None = None

    @property
    def end(self) -> float:
        """Requests up to the last that is measured."""
        return math.inf if self.count is None else self.skip + self.count

    @property
    def most(self) -> float:
        """Requests that may come at all."""
        return math.inf if self.count is None else self.end + int(EXTRA * self.count)


ALL = Window()


@dataclass(frozen=True)
class Run:
    """What was measured: `served` in the order of arrival, from the first of these arrivals to the
    last, `seconds` apart; `steps` began between these, on all of `replicas`.

    `num_preemptions` are of the whole simulation.
    """

    model: ReplicaModel
    replicas: int
    served: tuple[Served, ...]
    seconds: float
    steps: StepTotals
    num_preemptions: int


Simulation = Generator[list[Served], None, Run]
"""One that goes on as it is asked; gives requests as they end, and at last what was measured."""


class Fleet:
    """Equal replicas behind one address, each with a clock of its own; `seed` is of the routing."""

    def __init__(
        self,
        model: ReplicaModel,
        replicas: int = 1,
        routing: Routing = Routing.RANDOM,
        seed: int = 0,
    ) -> None:
        if replicas < 1:
            raise ValueError(f"replicas must be at least 1, not {replicas}")
        self.model = model
        self._replicas = [Replica(model) for _ in range(replicas)]
        self._routing = routing
        self._random = stream(seed, "routing")
        self._ends: list[tuple[float, int]] = []
        self._idle = set(range(replicas))

    @property
    def next_end(self) -> float:
        """When the next step ends; infinite where none is computed."""
        return self._ends[0][0] if self._ends else math.inf

    @property
    def num_replicas(self) -> int:
        """How many there are."""
        return len(self._replicas)

    @property
    def num_preemptions(self) -> int:
        """Of all replicas."""
        return sum(replica.num_preemptions for replica in self._replicas)

    def receive(self, number: int, arrival: Arrival) -> None:
        """Sends a request to a replica."""
        if len(self._replicas) == 1:
            index = 0
        elif self._routing is Routing.RANDOM:
            index = self._random.randrange(len(self._replicas))
        else:
            index = min(
                range(len(self._replicas)), key=lambda each: self._replicas[each].num_requests
            )
        self._replicas[index].receive(number, arrival)

    def wake(self, now: float, quiet_until: float = 0.0) -> None:
        """Lets replicas that were idle begin with what they received, and pass over steps that
        begin and end no request, as far as they end before `quiet_until`."""
        for index in sorted(self._idle):
            if self._replicas[index].num_requests:
                self._begin(index, now, quiet_until)

    def end_step(self, quiet_until: float = 0.0) -> tuple[Step, list[Served]]:
        """Ends the step at `next_end`; its replica goes on with the next, as in `wake`."""
        end, index = heapq.heappop(self._ends)
        ended = self._replicas[index].end_step()
        self._begin(index, end, quiet_until)
        return ended

    def _begin(self, index: int, now: float, quiet_until: float) -> None:
        replica = self._replicas[index]
        end = replica.begin_step(now)
        if end is None:
            self._idle.add(index)
        else:
            self._idle.discard(index)
            if end < quiet_until:
                end = replica.pass_quiet(quiet_until)
            heapq.heappush(self._ends, (end, index))


def simulate(fleet: Fleet, traffic: Iterable[Arrival], window: Window = ALL) -> Run:
    """`simulation`, to its end."""
    going = simulation(fleet, traffic, window, steps=True)
    while True:
        try:
            next(going)
        except StopIteration as ended:
            return cast(Run, ended.value)


def simulation(
    fleet: Fleet, traffic: Iterable[Arrival], window: Window = ALL, *, steps: bool
) -> Simulation:
    """Serves `traffic`, which comes in order of time, until all that is measured has ended.

    What is measured is served under load to its end: the traffic goes on until then, but for at
    most `EXTRA` more requests. The fleet must not have served before. Without `steps` nothing is
    told of these, which saves the time to look at every one. Yields what is measured as it ends,
    and may be left at any time.
    """
    served: list[Served] = []
    totals = StepTotals()
    coming = iter(traffic)
    following = next(coming, None)
    number = missing = 0
    first = last = math.inf
    while following is not None or fleet.next_end < math.inf:
        if following is not None and following.at <= fleet.next_end:
            if number == window.skip:
                first = following.at
            if window.skip <= number < window.end:
                missing += 1
                last = following.at
            fleet.receive(number, following)
            number, now = number + 1, following.at
            following = next(coming, None) if number < window.most else None
            if following is None or following.at > now:
                fleet.wake(now, _quiet_until(following, steps=steps))
            continue
        step, ended = fleet.end_step(_quiet_until(following, steps=steps))
        if steps and first <= step.begin and (number < window.end or step.begin <= last):
            totals.add(step)
        measured = [each for each in ended if window.skip <= each.number < window.end]
        if measured:
            served += measured
            missing -= len(measured)
            yield measured
        if not missing and number >= window.end:
            break
    served.sort()
    seconds = last - first if served else 0.0
    return Run(
        fleet.model, fleet.num_replicas, tuple(served), seconds, totals, fleet.num_preemptions
    )


def _quiet_until(following: Arrival | None, *, steps: bool) -> float:
    """How far replicas may go on by themselves: until the next request comes."""
    if steps:
        return 0.0
    return math.inf if following is None else following.at

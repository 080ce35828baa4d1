"""What is simulated: replicas, their traffic, and at which loads."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from plimsoll_planner.inputs import Objectives
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.load_curve import SHARES, LoadCurve, capacity, load_curve
from plimsoll_planner.simulation.random_traffic import RandomTraffic
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_planner.simulation.simulator import Fleet, Routing, Window, simulate
from plimsoll_planner.simulation.summary import Summary, summary
from plimsoll_planner.simulation.trace import at_rate, mean_rate

WARM_UP = 0.2
"""Requests that pass before those measured, as a share of these."""


@dataclass(frozen=True)
class Experiment:
    """Replicas of one model under random traffic, or under a trace if there is one.

    `requests` are measured, after WARM_UP of them; fewer where the trace is shorter.
    """

    model: ReplicaModel
    objectives: Objectives
    random: RandomTraffic
    trace: tuple[Arrival, ...] = ()
    replicas: int = 1
    routing: Routing = Routing.RANDOM
    requests: int = 2000
    seed: int = 0

    @property
    def declared_rate(self) -> float:
        """Requests per second of the trace, or of the workload without one."""
        return mean_rate(self.trace) if self.trace else self.random.workload.requests_per_second

    def at(self, rate: float) -> Summary:
        """What clients see at `rate` requests per second."""
        count = self.requests
        if self.trace:
            count = min(count, int(len(self.trace) / (1 + WARM_UP)))
        fleet = Fleet(self.model, self.replicas, self.routing, self.seed)
        run = simulate(fleet, self._traffic(rate), Window(int(count * WARM_UP), count))
        return summary(run, self.objectives)

    def capacity(self) -> float:
        """Requests per second that the replicas serve at most, whatever the latency."""
        rate = self.declared_rate
        return self.replicas * capacity(self.model, self._traffic(rate))

    def curve(self, rates: Iterable[float] = ()) -> LoadCurve:
        """Latency at each of `rates`, or without any at SHARES of the capacity."""
        most = self.capacity()
        return load_curve(
            self.at, tuple(rates) or [most * share for share in SHARES], most, self.objectives
        )

    def _traffic(self, rate: float) -> Iterator[Arrival]:
        if self.trace:
            return iter(at_rate(self.trace, rate))
        return self.random.arrivals(rate, self.model.limits.max_model_len, self.seed)

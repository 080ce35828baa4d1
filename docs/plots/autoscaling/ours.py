"""The operator's own decision as a law, from nothing but what engines' metrics say."""

from docs.plots.autoscaling.law import View
from plimsoll_operator.scaling.autoscale import Measured, Memory, Policy, Sample, decide
from plimsoll_operator.scaling.demand import Capacity


class Ours:
    """`plimsoll_operator.scaling.autoscale.decide` every 5 s, with a resource's defaults."""

    interval = 5.0

    def __init__(self, capacity: Capacity, max_replicas: int, stabilization: float = 300.0) -> None:
        self._capacity = capacity
        self._policy = Policy(1, max_replicas, stabilization)
        self.memory = Memory()

    def desired(self, view: View) -> int:
        samples = tuple(
            Sample(
                replica.name,
                view.now,
                replica.running,
                replica.waiting,
                replica.kv_cache_usage,
                counters=replica.counters(),
            )
            for replica in view.ready
        )
        measured = Measured(samples, view.asked, len(samples))
        decision = decide(measured, self._policy, self._capacity, self.memory, view.now)
        self.memory = decision.memory
        return decision.replicas

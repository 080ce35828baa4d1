"""Replicas that start, serve, drain and go, behind a balancer that sends to the least requests."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.replica import Replica, Served


class Server(Protocol):
    """A replica as the fleet drives it."""

    first_tokens: list[float]

    @property
    def num_requests(self) -> int:
        """Requests that are here, running or not."""

    @property
    def num_running(self) -> int:
        """Requests that have a place in the engine."""

    @property
    def kv_cache_usage(self) -> float:
        """Share of the KV cache that running requests hold."""

    def receive(self, number: int, arrival: Arrival) -> None:
        """Takes a request at `arrival.at`."""

    def advance(self, until: float) -> list[Served]:
        """Serves up to a time; gives the requests that ended."""


class SteppedReplica:
    """A `Replica`, so with the engine's own scheduler, as the fleet drives it."""

    def __init__(self, replica: Replica) -> None:
        self.first_tokens: list[float] = []
        self.num_running = 0
        self.kv_cache_usage = 0.0
        self._replica = replica
        self._end: float | None = None

    @property
    def num_requests(self) -> int:
        """Requests that are here, running or not."""
        return self._replica.num_requests

    def receive(self, number: int, arrival: Arrival) -> None:
        """Takes a request at `arrival.at`."""
        self._replica.receive(number, arrival)
        if self._end is None:
            self._end = self._replica.begin_step(arrival.at)

    def advance(self, until: float) -> list[Served]:
        """Serves up to a time; gives the requests that ended. A TTFT is told with the end."""
        served: list[Served] = []
        while self._end is not None and self._end <= until:
            step, ended = self._replica.end_step()
            served += ended
            self.first_tokens += [each.ttft for each in ended]
            self.num_running = step.running
            self.kv_cache_usage = step.used_blocks / self._replica.model.limits.num_blocks
            self._end = self._replica.begin_step(self._end)
        if self._end is None:
            self.num_running, self.kv_cache_usage = 0, 0.0
        return served


@dataclass
class Pod:
    """A replica and its life. Seconds; `gone` is infinite while it is there."""

    number: int
    server: Server
    created: float
    ready: float
    received: int = 0
    deleted: float = math.inf
    gone: float = math.inf

    def serves(self, now: float) -> bool:
        """Whether new requests go to it."""
        return self.ready <= now and self.deleted == math.inf


class ElasticFleet:
    """A number of replicas that can be changed. `startup` says how long the nth takes to be ready.

    What goes are replicas that are still starting, the newest first, then those with the fewest
    requests; these are served to their end, which is counted. `initial` replicas are ready at 0.
    """

    def __init__(
        self, make: Callable[[float], Server], startup: Callable[[int], float], initial: int
    ) -> None:
        self._make = make
        self._startup = startup
        self.pods: list[Pod] = []
        self.past: list[Pod] = []
        self._held: list[tuple[int, Arrival]] = []
        self._count = 0
        for _ in range(initial):
            self._create(0.0, 0.0)

    @property
    def wanted(self) -> list[Pod]:
        """Pods that are not on their way out."""
        return [pod for pod in self.pods if pod.deleted == math.inf]

    def advance(self, now: float) -> list[tuple[Pod, Served]]:
        """Serves up to `now`; gives each request that ended and where."""
        ended: list[tuple[Pod, Served]] = []
        for pod in self.pods:
            ended += [(pod, served) for served in pod.server.advance(now)]
        for pod in [each for each in self.pods if each.deleted < math.inf]:
            if not pod.server.num_requests:
                last = max((s.arrival.at + s.e2e for p, s in ended if p is pod), default=0.0)
                pod.gone = max(pod.deleted, last)
                self.pods.remove(pod)
                self.past.append(pod)
        return ended

    def receive(self, number: int, arrival: Arrival) -> None:
        """Sends a request to the ready replica with the fewest; `advance` came before."""
        ready = [pod for pod in self.pods if pod.serves(arrival.at)]
        if not ready:
            self._held.append((number, arrival))
            return
        for held in (*self._held, (number, arrival)):
            pod = min(ready, key=lambda each: each.server.num_requests)
            pod.received += 1
            pod.server.receive(*held)
        self._held.clear()

    def scale(self, replicas: int, now: float) -> None:
        """Asks for so many replicas."""
        wanted = self.wanted
        for _ in range(replicas - len(wanted)):
            self._create(now, now + self._startup(self._count))
        order = sorted(wanted, key=lambda pod: _worth(pod, now))
        for pod in order[: max(0, len(wanted) - replicas)]:
            pod.deleted = now
            if pod.ready > now:
                pod.gone = now
                self.pods.remove(pod)
                self.past.append(pod)

    def replica_seconds(self, end: float) -> float:
        """Seconds that replicas existed up to `end`, starting and draining ones included."""
        return sum(min(pod.gone, end) - min(pod.created, end) for pod in (*self.pods, *self.past))

    def _create(self, created: float, ready: float) -> None:
        self.pods.append(Pod(self._count, self._make(ready), created, ready))
        self._count += 1


def _worth(pod: Pod, now: float) -> tuple[float, ...]:
    """What would be lost with a pod: the least goes first."""
    if pod.ready > now:
        return (0, -pod.created, -pod.number)
    return (1, pod.server.num_requests, -pod.number)

"""What every law of scaling sees, and what it answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from plimsoll_operator.scaling.measurement import Counters


@dataclass(frozen=True)
class ReplicaView:
    """What one ready replica's metrics say."""

    name: str
    running: int
    waiting: int
    kv_cache_usage: float
    counters: Callable[[], Counters]

    @property
    def concurrency(self) -> int:
        """Requests that are there."""
        return self.running + self.waiting


@dataclass(frozen=True)
class View:
    """A moment. `asked` counts all replicas that are asked for, starting ones too.

    `ttfts` and `tpots` are (time, seconds) of all requests so far, in order; a law reads their end.
    """

    now: float
    asked: int
    ready: tuple[ReplicaView, ...]
    ttfts: Sequence[tuple[float, float]]
    tpots: Sequence[tuple[float, float]]

    @property
    def concurrency(self) -> int:
        """Requests in all ready replicas."""
        return sum(replica.concurrency for replica in self.ready)

    @property
    def waiting(self) -> int:
        """Requests that wait in ready replicas."""
        return sum(replica.waiting for replica in self.ready)


class Law(Protocol):
    """A law of scaling; it may remember. `interval` is in seconds."""

    interval: float

    def desired(self, view: View) -> int:
        """How many replicas there should be, before bounds."""

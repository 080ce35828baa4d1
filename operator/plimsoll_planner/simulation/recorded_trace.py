"""A trace as what a plan is made for: the requests, and a hash that stands for them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from plimsoll_planner.simulation.arrival import Arrival


@dataclass(frozen=True)
class RecordedTrace:
    """Requests in the order of arrival. Two are equal where their digests are, so that one without
    its `arrivals` can stand for the whole."""

    digest: str
    arrivals: tuple[Arrival, ...] = field(default=(), repr=False, compare=False)

    @classmethod
    def of(cls, arrivals: Sequence[Arrival]) -> "RecordedTrace":
        """With the hash of its requests, times to the microsecond: how they were written down, as
        JSON or CSV, does not count."""
        rows = [(round(each.at, 6), *each[1:]) for each in arrivals]
        text = json.dumps(rows, separators=(",", ":"))
        return cls(hashlib.sha256(text.encode()).hexdigest()[:16], tuple(arrivals))

    def without_arrivals(self) -> "RecordedTrace":
        """What stands for it in a memory of answers."""
        return RecordedTrace(self.digest)

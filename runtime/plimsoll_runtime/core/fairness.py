"""Who is served next where several tenants wait: virtual token counters.

Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024 (VTC). Every tenant has a
counter of the service that it got, in priced tokens; of those that wait, the one with the least is
served next. A tenant that begins to wait is lifted to the least counter among those that wait
already, so that nobody saves up credit while idle. Between tenants that wait all the time, service
then differs by no more than what requests already admitted can still bring.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import NamedTuple

MAX_TENANTS = 256
"""Counters that are kept. Names may come from clients, so they must not fill the memory."""

RECENT = 1024
"""A tenant counts as active until so many requests have come after its last one."""

SHARED = ""
"""The tenant of requests that name none, and of those beyond the counters that are kept."""


class SchedulingPolicy(StrEnum):
    """In which order waiting requests are admitted.

    `FAIR`: the tenant with the least counter first; a request's priority counts among its own
    tenant's only, or everybody would ask for the highest. `PRIORITY`: priorities count among all,
    for a server whose clients are trusted with them; counters decide where they are equal. `FCFS`:
    by arrival, whoever asks.
    """

    FAIR = "fair"
    PRIORITY = "priority"
    FCFS = "fcfs"


class Prices(NamedTuple):
    """What a token costs; 1 and 2 are the paper's.

    A token of output takes part in a step of its own and so costs more than one of a prompt. What
    is found in the KV cache costs nothing: it is not computed, and a tenant whose prompts begin
    alike does not take anybody's turn. Neither does what is computed again after a preemption,
    which the tenant did not ask for.
    """

    prompt: float = 1.0
    output: float = 2.0


class TenantCounters:
    """Service that tenants got, in priced tokens over their weight; weight 2 is a double share.

    At most `max_tenants` are told apart. When there are as many, the one that has nothing
    unfinished and the least counter is forgotten, because that one would be lifted anyway; when
    all are busy, a new name is counted as `SHARED`.
    """

    def __init__(
        self,
        weights: Mapping[str, float] | None = None,
        prices: Prices | None = None,
        max_tenants: int = MAX_TENANTS,
    ) -> None:
        self._weights = dict(weights or {})
        self._prices = prices or Prices()
        self._max_tenants = max_tenants
        self._counters: dict[str, float] = {}
        self._unfinished: dict[str, int] = {}
        self._entries = 0
        self._entered: dict[str, int] = {}
        self._last = SHARED

    def __len__(self) -> int:
        return len(self._counters)

    def __getitem__(self, tenant: str) -> float:
        """The counter, in priced tokens; 0 for a tenant that is not known."""
        return self._counters.get(tenant, 0.0)

    def num_unfinished(self, tenant: str) -> int:
        """Requests of a tenant that run or wait."""
        return self._unfinished.get(tenant, 0)

    def enter(self, tenant: str, waiting: Collection[str]) -> str:
        """A request comes while the tenants `waiting` do so; returns whose it counts as."""
        if tenant not in self._counters and not self._has_room():
            tenant = SHARED
        counter = self[tenant]
        if tenant not in waiting:
            # With nobody waiting, the last one that was is the measure, as in the paper.
            level = min(map(self.__getitem__, waiting)) if waiting else self[self._last]
            counter = max(counter, level)
        self._counters[tenant] = counter
        self._unfinished[tenant] = self._unfinished.get(tenant, 0) + 1
        self._entries += 1
        self._entered[tenant] = self._entries
        return tenant

    def shares(self) -> dict[str, float]:
        """What part of the service is due to each tenant that has requests, or had some lately."""
        oldest = self._entries - RECENT
        weights = {
            tenant: self._weights.get(tenant, 1.0)
            for tenant, entered in self._entered.items()
            if entered > oldest or tenant in self._unfinished
        }
        total = sum(weights.values())
        return {tenant: weight / total for tenant, weight in weights.items()}

    def leave(self, tenant: str) -> None:
        """A request that entered has ended."""
        left = self._unfinished.pop(tenant) - 1
        if left:
            self._unfinished[tenant] = left

    def served_last(self, tenant: str) -> None:
        """The last request of `tenant` that waited does so no more."""
        self._last = tenant

    def charge(self, tenant: str, *, prompt: int = 0, output: int = 0) -> None:
        """Adds the price of tokens that were, or are going to be, computed for a tenant."""
        cost = self._prices.prompt * prompt + self._prices.output * output
        self._counters[tenant] = self[tenant] + cost / self._weights.get(tenant, 1.0)

    def charge_outputs(self, counts: Mapping[str, int]) -> None:
        """Adds the price of so many output tokens of each tenant."""
        for tenant, count in counts.items():
            self.charge(tenant, output=count)

    def _has_room(self) -> bool:
        """Whether there is a counter to give, if need be an idle tenant's."""
        if len(self._counters) < self._max_tenants:
            return True
        idle = [each for each in self._counters if each not in self._unfinished]
        idle = [each for each in idle if each not in (self._last, SHARED)]
        if not idle:
            return False
        forgotten = min(idle, key=self.__getitem__)
        del self._counters[forgotten], self._entered[forgotten]
        return True

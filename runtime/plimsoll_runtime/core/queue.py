"""Requests in order of urgency: those that have a place, and those that wait for one."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

from plimsoll_runtime.core.fairness import SHARED, SchedulingPolicy, TenantCounters
from plimsoll_runtime.core.request import Request

Key = Callable[[Request], tuple[float, ...]]


def rank(request: Request) -> tuple[float, ...]:
    """Smaller priority, then earlier arrival."""
    return (request.priority, request.arrival_time, request.sequence)


def arrival(request: Request) -> tuple[float, ...]:
    """Earlier arrival."""
    return (request.arrival_time, request.sequence)


class QueueCount(NamedTuple):
    """How many requests of one tenant and priority wait, and their known tokens in sum."""

    tenant: str
    priority: int
    num_requests: int
    num_tokens: int

    @classmethod
    def of(cls, request: Request) -> "QueueCount":
        """One request alone."""
        return cls(request.tenant, request.priority, 1, request.num_tokens)


class RankedQueue:
    """Requests sorted by `key`; adding and removing are a binary search and one memory move.

    The key of a request must be unique and must not change while it is here.
    """

    def __init__(self, key: Key = rank) -> None:
        self._key = key
        self._requests: list[Request] = []

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    def __getitem__(self, position: int) -> Request:
        return self._requests[position]

    def add(self, request: Request) -> None:
        """Puts a request at its rank."""
        insort(self._requests, request, key=self._key)

    def remove(self, request: Request) -> None:
        """Takes out a request. Raises KeyError when it is not here."""
        position = bisect_left(self._requests, self._key(request), key=self._key)
        if position == len(self._requests) or self._requests[position] is not request:
            raise KeyError(request.request_id)
        del self._requests[position]

    def pop_first(self) -> Request:
        """Takes the most urgent request. Raises IndexError when there is none."""
        return self._requests.pop(0)

    def pop_last(self) -> Request:
        """Takes the least urgent request. Raises IndexError when there is none."""
        return self._requests.pop()


class WaitingQueue:
    """Requests that wait for a place, one queue for each tenant, beside those that had one.

    Counters say which tenant is next, so the order in which requests are admitted for the first
    time changes while they wait. Once admitted, a request has a place in an order that does not:
    `place`, by the number of its admission. Preempted requests come back in that order, and before
    any request of their class that was never admitted. That rules out livelock: of all requests
    that were admitted, the first in place is never preempted for another, and only one of a more
    urgent class can come before it; so it finishes, and then another is first. It rules out
    starvation within a class too. Before an admitted request's place nothing is added. And a tenant
    that waits for its first place has a counter that stands still, while those that are served
    before it grow, and newcomers begin with no less than the least.
    """

    def __init__(self, policy: SchedulingPolicy, counters: TenantCounters) -> None:
        self._policy = policy
        self._counters = counters
        self._preempted = RankedQueue(self.place)
        self._tenants: dict[str, RankedQueue] = {}
        self._counts: dict[tuple[str, int], tuple[int, int]] = {}
        self._summary: tuple[QueueCount, ...] | None = ()

    def __len__(self) -> int:
        return len(self._preempted) + sum(map(len, self._tenants.values()))

    def group(self, request: Request) -> str:
        """Whose turn a request takes: its tenant's, or with `FCFS` everybody's."""
        return SHARED if self._policy is SchedulingPolicy.FCFS else request.tenant

    def place(self, request: Request) -> tuple[float, ...]:
        """Where an admitted request stands among the admitted ones: first is most urgent."""
        return (self._class(request), request.admission)

    def by_turns(self, requests: list[Request]) -> list[Request]:
        """Admitted requests, in order of place, with the first of every tenant before a second."""
        turns: Counter[str] = Counter()
        keyed = []
        for request in requests:
            group = self.group(request)
            keyed.append(((self._class(request), turns[group]), request))
            turns[group] += 1
        return [request for _, request in sorted(keyed, key=itemgetter(0))]

    def goes_before(self, waiting: Request, admitted: Request, served: Collection[str]) -> bool:
        """Whether a request that waits has a turn before an admitted one.

        It has when that one's tenant was `served` in this step already and its own was not.
        """
        if self.group(admitted) not in served or self.group(waiting) in served:
            return False
        return self._class(waiting) <= self._class(admitted)

    def have_their_part(
        self, running: Iterable[Request], places: int, num_blocks: int, most_ahead: float
    ) -> Container[str]:
        """The tenants that have their part already of the places or blocks there are.

        A part is a tenant's weight among those that are active; who is alone has none. Whoever
        waits and got more than `most_ahead` priced tokens more than another that does, has its
        part of service, which is what counts in the long run: parts of places are not.
        """
        shares = self._counters.shares()
        if self._policy is SchedulingPolicy.FCFS or len(shares) < 2:
            return ()
        held: dict[str, tuple[int, int]] = {}
        for request in running:
            seqs, blocks = held.get(request.tenant, (0, 0))
            held[request.tenant] = seqs + 1, blocks + len(request.block_ids)
        least = min(map(self._counters.__getitem__, self._tenants), default=0.0)
        ahead = {each for each in self._tenants if self._counters[each] > least + most_ahead}
        return ahead | {
            tenant
            for tenant, (seqs, blocks) in held.items()
            if seqs >= places * shares[tenant] or blocks >= num_blocks * shares[tenant]
        }

    def add(self, request: Request) -> None:
        """Takes a request that comes, or that was preempted."""
        if request.admission:
            self._preempted.add(request)
        else:
            request.tenant = self._counters.enter(request.tenant, self._tenants)
            group = self.group(request)
            if group not in self._tenants:
                key = arrival if self._policy is SchedulingPolicy.FCFS else rank
                self._tenants[group] = RankedQueue(key)
            self._tenants[group].add(request)
        self._count(request, 1)

    def remove(self, request: Request) -> None:
        """Takes out a request, to be admitted or ended. Raises KeyError when it is not here."""
        if request.admission:
            self._preempted.remove(request)
        else:
            group = self.group(request)
            self._tenants[group].remove(request)
            if not self._tenants[group]:
                del self._tenants[group]
                self._counters.served_last(request.tenant)
        self._count(request, -1)

    def heads(self) -> list[Request]:
        """The first of each tenant and of the preempted, the one to be admitted next first."""
        heads = [queue[0] for queue in self._tenants.values()]
        if self._preempted:
            heads.append(self._preempted[0])
        return sorted(heads, key=self._urgency)

    def summary(self) -> tuple[QueueCount, ...]:
        """Who waits, by tenant and priority; made anew only when that has changed."""
        if self._summary is None:
            self._summary = tuple(QueueCount(*key, *n) for key, n in self._counts.items())
        return self._summary

    def _class(self, request: Request) -> int:
        return request.priority if self._policy is SchedulingPolicy.PRIORITY else 0

    def _urgency(self, request: Request) -> tuple[float, ...]:
        if request.admission:
            return (self._class(request), 0)
        group = self.group(request)
        # Who begins to wait is lifted to a counter that another has: less to do goes first.
        tie = self._counters.num_unfinished(group)
        counter = self._counters[group]
        return (self._class(request), 1, counter, tie, request.arrival_time, request.sequence)

    def _count(self, request: Request, change: int) -> None:
        key = (request.tenant, request.priority)
        requests, tokens = self._counts.get(key, (0, 0))
        requests += change
        if requests:
            self._counts[key] = (requests, tokens + change * request.num_tokens)
        else:
            del self._counts[key]
        self._summary = None

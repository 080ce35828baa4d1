"""How much traffic there is, in replicas: pure, from what engines count and the plan's capacity.

`replicas = ceil((arrivals/s + waiting / CLEAR_SECONDS) / (capacity · correction) - SPARE)`, and no
fewer than what runs fills. `capacity` is the rate that the plan predicts for one replica within the
promise. `correction` learns what the prediction cannot know, such as bursts: it falls while more
than TOO_MANY of the requests miss a promise, and rises while nearly none do near full load.

Where arrivals or the capacity are not known, the queue decides: a replica carries at most the
plan's `max_num_seqs`, or fewer where its KV cache is full, and replicas come as soon as requests
wait that those present, starting ones included, cannot take. It decides too where a queue has stood
for STANDING_SECONDS: clients that wait for answers arrive no faster than they are served.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from plimsoll_operator.scaling.measurement import Counters
from plimsoll_operator.traces.metrics_snapshot import Histogram

HEADROOM = 0.7
"""By the queue: share of its capacity that a remaining replica may be used to."""
WAITING_TOLERANCE = 0.1
"""Waiting requests per slot that pass for arrivals between two steps, not for a queue."""
CARRIED_FLOOR = 0.25
"""Share of its slots that a replica is taken to fill at least, however little runs right now."""
RATE_WINDOW = 180.0
"""Seconds over which arrivals are counted: what passes sooner than twice the minute or more that a
replica takes to start is over before one could help."""
LEAST_WINDOW = 60.0
CLEAR_SECONDS = 60.0
"""In which what waits should be served, besides what arrives."""
STANDING_SECONDS = 60.0
"""After which a queue is no burst."""
SPARE = 0.02
"""Share of a replica that demand may be above a whole number."""
JUDGE_SECONDS = 120.0
"""Between two corrections, so that one has shown before the next."""
LEAST_JUDGED = 50
"""Requests that a judgement takes: with 5 % missed, 2.5 ± 1.5 of them."""
TOO_MANY, FEW = 0.05, 0.025
"""Shares of requests that miss: above what a p95 allows, and so few that more load would do."""
LESS, MORE = 0.9, 1.05
LEAST_CORRECTION, MOST_CORRECTION = 0.4, 1.5
NEAR_FULL = 0.8
"""Share of the corrected capacity from which on few misses say anything."""


@dataclass(frozen=True)
class Capacity:
    """What one replica carries by the plan: sequences, and requests per second within the promise,
    0 where that is not known; the promise in seconds, None where nothing is promised."""

    max_num_seqs: int
    requests_per_second: float = 0.0
    ttft: float | None = None
    tpot: float | None = None


@dataclass(frozen=True)
class Tail:
    """How many values are above either edge of a promise's bucket; it is at `part` of it."""

    above_low: float = 0.0
    above_high: float = 0.0
    part: float = 0.0

    @property
    def missed(self) -> float:
        """How many are above the promise, where a tail falls off exponentially."""
        if not self.above_low:
            return 0.0
        # Half a request stands for none, so that the logarithm exists.
        high = max(0.5, self.above_high) if self.part < 1 else self.above_high
        return min(
            self.above_low, math.pow(self.above_low, 1 - self.part) * math.pow(high, self.part)
        )


@dataclass(frozen=True)
class Count:
    """What one replica has counted since its start; tails of TTFT and TPOT."""

    replica: str
    arrived: float
    ended: float
    tails: tuple[Tail, Tail]


@dataclass(frozen=True)
class Tick:
    """What came, ended and was late on all replicas since the tick before; `waiting` at `at`."""

    at: float
    arrived: float
    ended: float
    tails: tuple[Tail, Tail]
    ready: int
    waiting: float = 0.0


@dataclass(frozen=True)
class Traffic:
    """Ticks of the last minutes, oldest first, and what was learned of `capacity`."""

    capacity: Capacity | None = None
    counts: tuple[Count, ...] = ()
    ticks: tuple[Tick, ...] = ()
    correction: float = 1.0
    judged_at: float | None = None

    @property
    def at(self) -> float:
        """When it was counted last."""
        return self.ticks[-1].at if self.ticks else -math.inf

    @property
    def standing(self) -> float:
        """The least that waited at any tick of the last STANDING_SECONDS."""
        recent = [tick.waiting for tick in self.ticks if tick.at > self.at - STANDING_SECONDS]
        return min(recent, default=0.0)

    @property
    def rate(self) -> float | None:
        """Arrivals per second; None while they are known for less than LEAST_WINDOW."""
        if not self.ticks or self.at - self.ticks[0].at < LEAST_WINDOW:
            return None
        first, *rest = self.ticks
        return sum(tick.arrived for tick in rest) / (self.at - first.at)


@dataclass(frozen=True)
class Demand:
    """What a count of replicas is computed from; figures have six digits, so that a record of them
    gives the same count again.

    `arrivals` and `capacity` are requests per second, the first None and the second 0 where they
    are not known. `filled` are replicas' worth of slots or KV cache in use on `ready` replicas of
    `slots` each. `standing` have waited at every look for a while.
    """

    running: float
    waiting: float
    filled: float
    ready: int
    slots: int
    arrivals: float | None = None
    capacity: float = 0.0
    correction: float = 1.0
    standing: float = 0.0


def replicas_for(demand: Demand, current: int) -> int:
    """How many replicas the demand needs, at least 1; `current` are asked for."""
    if demand.arrivals is None or not demand.capacity > 0:
        return _by_queue(demand, demand.waiting, current)
    rate = demand.arrivals + demand.waiting / CLEAR_SECONDS
    needed = math.ceil(rate / (demand.capacity * demand.correction) - SPARE)
    needed = max(1, needed, math.ceil(demand.filled))
    return max(needed, _by_queue(demand, demand.standing, needed))


def _by_queue(demand: Demand, waiting: float, current: int) -> int:
    """Never fewer for more that waits."""
    recommended = min(current, max(1, math.ceil(demand.filled / HEADROOM)))
    if waiting > WAITING_TOLERANCE * demand.slots * demand.ready:
        # Where the KV cache or the token budget is full, a replica carries fewer sequences than
        # it has slots; the floor keeps a burst that no step has seen yet from counting as that.
        floor = max(1.0, CARRIED_FLOOR * demand.slots)
        carried = max(floor, min(float(demand.slots), demand.running / demand.ready))
        needed = math.ceil((demand.running + waiting) / carried)
        recommended = max(recommended, needed, demand.ready + 1)
    return recommended


def six_digits(value: float) -> float:
    """As it is written into a record."""
    return float(f"{value:.6g}")


def observe(
    traffic: Traffic,
    counted: Iterable[tuple[str, Counters]],
    capacity: Capacity,
    at: float,
    waiting: float = 0.0,
) -> Traffic:
    """The traffic with one more tick, the same where it has that of `at` already.

    A replica's first counts are only to compare with. What was learned of another capacity, and
    what a clock that was set back leaves from the future, is forgotten.
    """
    if traffic.capacity != capacity or traffic.at > at:
        traffic = Traffic(capacity)
    if traffic.at == at:
        return traffic
    before = {count.replica: count for count in traffic.counts}
    counts = tuple(count_of(replica, counters, capacity) for replica, counters in counted)
    pairs = [(before[each.replica], each) for each in counts if each.replica in before]
    # A replica that counts less than before was restarted.
    pairs = [(old, new) for old, new in pairs if new.ended >= old.ended]
    tick = Tick(
        at,
        sum(max(0.0, new.arrived - old.arrived) for old, new in pairs),
        sum(new.ended - old.ended for old, new in pairs),
        (
            _sum(_since(old.tails[0], new.tails[0]) for old, new in pairs),
            _sum(_since(old.tails[1], new.tails[1]) for old, new in pairs),
        ),
        len(counts),
        waiting,
    )
    kept = tuple(each for each in traffic.ticks if each.at >= at - RATE_WINDOW)
    return _judged(replace(traffic, counts=counts, ticks=(*kept, tick)), capacity)


def count_of(replica: str, counters: Counters, capacity: Capacity) -> Count:
    """A replica's counters, as far as demand needs them."""
    ended = counters.prompts.count
    tails = (_tail(counters.first_token, capacity.ttft), _tail(counters.per_token, capacity.tpot))
    return Count(replica, ended + counters.unfinished, ended, tails)


def _judged(traffic: Traffic, capacity: Capacity) -> Traffic:
    """Corrects the capacity by how many of the last requests missed a promise."""
    since, now = traffic.judged_at, traffic.at
    if since is None:
        return replace(traffic, judged_at=now)
    if now - since < JUDGE_SECONDS or not capacity.requests_per_second:
        return traffic
    ticks = [tick for tick in traffic.ticks if tick.at > now - JUDGE_SECONDS]
    ended = sum(tick.ended for tick in ticks)
    ready = sum(tick.ready for tick in ticks) / len(ticks)
    if ended < LEAST_JUDGED or not ready:
        return traffic
    missed = sum(_sum(tick.tails[which] for tick in ticks).missed for which in (0, 1)) / ended
    load = sum(tick.arrived for tick in ticks) / JUDGE_SECONDS / ready
    full = load / (capacity.requests_per_second * traffic.correction)
    correction = traffic.correction
    if missed > TOO_MANY and full < 1 / LESS**3:
        correction = max(LEAST_CORRECTION, correction * LESS)
    elif missed < FEW and full > NEAR_FULL:
        correction = min(MOST_CORRECTION, correction * MORE)
    if correction == traffic.correction:
        return traffic
    return replace(traffic, correction=correction, judged_at=now)


def _tail(histogram: Histogram, promise: float | None) -> Tail:
    """Where there is no promise, nothing is above it."""
    if promise is None:
        return Tail()
    low, before = 0.0, 0.0
    for edge, count in sorted(histogram.buckets.items()):
        if edge >= promise:
            # In the last bucket, which has no end, all may be late.
            part = 0.0 if math.isinf(edge) else (promise - low) / (edge - low)
            return Tail(histogram.count - before, histogram.count - count, part)
        low, before = edge, count
    return Tail()


def _since(old: Tail, new: Tail) -> Tail:
    return Tail(
        max(0.0, new.above_low - old.above_low),
        max(0.0, new.above_high - old.above_high),
        new.part,
    )


def _sum(tails: Iterable[Tail]) -> Tail:
    found = Tail()
    for tail in tails:
        found = Tail(
            found.above_low + tail.above_low, found.above_high + tail.above_high, tail.part
        )
    return found

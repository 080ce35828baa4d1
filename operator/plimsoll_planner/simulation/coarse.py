"""A replica in simulated time that jumps over steps in which nothing begins or ends.

It does by sums what `Replica` does with the engine's scheduler, some twenty times as fast, for
questions that need hours of many replicas, such as how a law of scaling fares. Step times are the
same. What it leaves out: tenants and priorities (first come, first served), shared prefixes except
whole blocks of a trace's ids, and the KV cache in blocks instead of tokens.
`docs/autoscaling.md` shows both side by side.
"""

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from plimsoll_planner.performance.step_time import outside
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.replica import ReplicaModel, Served


@dataclass
class _Stay:
    """A request here. `remaining` prompt tokens are not computed; `known` at step `since`."""

    number: int
    arrival: Arrival
    prompt: int
    remaining: int
    cached: int = 0
    output: int = 1
    started: float = math.nan
    first_token: float = math.nan
    since: int = 0
    preemptions: int = 0


@dataclass
class CoarseReplica:
    """Like `Replica`, driven by `receive` and `advance`, which tells what has ended."""

    model: ReplicaModel
    now: float = 0.0
    first_tokens: list[float] = field(default_factory=list)
    """TTFT of requests whose first token came, until a reader takes them."""

    def __post_init__(self) -> None:
        limits = self.model.limits
        self._capacity = limits.num_blocks * limits.block_size
        self._waiting: deque[_Stay] = deque()
        self._prompts: list[_Stay] = []
        self._decoding: list[tuple[int, int, _Stay]] = []
        self._step = self._context = self._prefilling = 0
        self._prefixes: OrderedDict[int, int] = OrderedDict()
        self._cached = 0

    @property
    def num_running(self) -> int:
        """Requests that have a place in the engine."""
        return len(self._prompts) + len(self._decoding)

    @property
    def num_requests(self) -> int:
        """Requests that are here, running or not."""
        return len(self._waiting) + self.num_running

    @property
    def kv_cache_usage(self) -> float:
        """Share of the KV cache that running requests hold."""
        return min(1.0, (self._context + self._prefilling) / self._capacity)

    def receive(self, number: int, arrival: Arrival) -> None:
        """Takes a request that arrives at `arrival.at`; `advance` was called with that time."""
        arrival = arrival.within(self.model.limits.max_model_len)
        if not self.num_requests:
            self.now = max(self.now, arrival.at)
        prompt = arrival.prompt_tokens
        self._waiting.append(_Stay(number, arrival, prompt, prompt, output=arrival.output_tokens))

    def advance(self, until: float) -> list[Served]:
        """Computes what begins up to `until`; the last step may end later. Gives what ended."""
        served: list[Served] = []
        while self.now <= until and self.num_requests:
            self._admit()
            if self._prompts:
                self._mixed_step(served)
            else:
                self._jump(until, served)
        return served

    def _admit(self) -> None:
        limits = self.model.limits
        budget = limits.max_num_batched_tokens - len(self._decoding)
        budget -= sum(stay.remaining for stay in self._prompts)
        while self._waiting and budget > 0 and self.num_running < limits.max_num_seqs:
            stay = self._waiting[0]
            if self._context + self._prefilling + stay.prompt > self._capacity and self.num_running:
                return
            self._waiting.popleft()
            if math.isnan(stay.started):
                stay.started = self.now
                stay.cached = self._hit(stay.arrival)
                stay.remaining -= stay.cached
            self._prefilling += stay.prompt
            self._prompts.append(stay)
            budget -= stay.remaining

    def _mixed_step(self, served: list[Served]) -> None:
        """One step that computes parts of prompts beside what decodes."""
        count = len(self._decoding)
        budget = self.model.limits.max_num_batched_tokens - count
        tokens = sampled = count
        context = pairs = self._context
        done: list[_Stay] = []
        share = budget if len(self._prompts) == 1 else max(1, budget // 2)
        for stay in self._prompts:
            chunk = min(stay.remaining, budget, share)
            start = stay.prompt - stay.remaining
            stay.remaining -= chunk
            budget -= chunk
            tokens += chunk
            context += start + chunk
            pairs += chunk * start + chunk * (chunk + 1) // 2
            if not stay.remaining:
                done.append(stay)
                sampled += 1
        self.now += self.model.step(tokens, sampled, context, pairs)
        self._decoded(1, served)
        for stay in done:
            self._prompts.remove(stay)
            self._prefilling -= stay.prompt
            self._begin_decoding(stay, served)

    def _begin_decoding(self, stay: _Stay, served: list[Served]) -> None:
        if math.isnan(stay.first_token):
            stay.first_token = self.now
            apart = outside(self.model.step, stay.arrival.prompt_tokens)
            self.first_tokens.append(self.now - stay.arrival.at + apart)
        if stay.output <= 1:
            served.append(self._served(stay))
            return
        stay.since = self._step
        self._context += stay.prompt + 1
        heappush(self._decoding, (self._step + stay.output - 1, stay.number, stay))

    def _jump(self, until: float, served: list[Served]) -> None:
        """All steps up to the next end of a request, or up to `until`."""
        count, context = len(self._decoding), self._context
        steps = self._decoding[0][0] - self._step
        seconds = self.model.step(count, count, context, context)
        steps = max(1, min(steps, math.ceil((until - self.now) / seconds)))
        middle = context + count * (steps - 1) / 2
        self.now += steps * self.model.step(count, count, middle, middle)
        self._decoded(steps, served)

    def _decoded(self, steps: int, served: list[Served]) -> None:
        self._step += steps
        self._context += len(self._decoding) * steps
        while self._decoding and self._decoding[0][0] <= self._step:
            stay = heappop(self._decoding)[2]
            self._context -= stay.prompt + 1 + self._step - stay.since
            served.append(self._served(stay))
        while self._context + self._prefilling > self._capacity and len(self._decoding) > 1:
            self._preempt()

    def _preempt(self) -> None:
        """Sends the request that was admitted last back to the front of the queue."""
        entry = max(self._decoding, key=lambda each: (each[2].started, each[1]))
        self._decoding.remove(entry)
        heapify(self._decoding)
        stay = entry[2]
        made = 1 + self._step - stay.since
        self._context -= stay.prompt + made
        stay.prompt += made
        stay.output -= made
        stay.remaining = stay.prompt
        stay.preemptions += 1
        self._waiting.appendleft(stay)

    def _hit(self, arrival: Arrival) -> int:
        """Tokens of the prompt that are in the cache; those that are not come into it."""
        size, hit, hits = arrival.prefix_block, 0, True
        for prefix_id in arrival.prefix_ids:
            hits = hits and prefix_id in self._prefixes
            hit += size * hits
            self._cached += size * (prefix_id not in self._prefixes)
            self._prefixes[prefix_id] = size
            self._prefixes.move_to_end(prefix_id)
        while self._prefixes and self._cached + self._context > self._capacity:
            self._cached -= self._prefixes.popitem(last=False)[1]
        return min(hit, arrival.prompt_tokens - 1)

    def _served(self, stay: _Stay) -> Served:
        at, apart = stay.arrival.at, outside(self.model.step, stay.arrival.prompt_tokens)
        count = stay.arrival.output_tokens
        return Served(
            stay.number,
            stay.arrival,
            stay.started - at,
            stay.first_token - at + apart,
            (self.now - stay.first_token) / (count - 1) if count > 1 else None,
            self.now - at + apart,
            stay.cached,
            stay.preemptions,
        )

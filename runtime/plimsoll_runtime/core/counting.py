"""The scheduler for simulations: it counts tokens instead of listing them.

Which requests run, wait, are admitted, preempted or ended is decided by the code that the engine
runs. What is left out is the look at every decoding request in every step. While one decodes,
nothing is to be decided about it except where a token fills a block, needs a new one or is the
last, and the step that this falls in is known beforehand; until then the request is only a part of
sums. A step whose new blocks are more than are free, so that somebody is to be preempted, is left
to the scheduler as a whole.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.limits import EngineLimits, LiveLimits
from plimsoll_runtime.core.prefix import HashBlock, hash_block
from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import ScheduledRequest, SchedulerOutput, scheduled_part
from plimsoll_runtime.core.step_result import StepResult


class StepLoad(NamedTuple):
    """What a step has to do, summed over its requests.

    `tokens` are to be computed and `sampled` ones come out; the step reads `context` tokens of KV
    cache and multiplies `pairs` of a query with a key.
    """

    tokens: int
    sampled: int
    context: int
    pairs: int


class StepEvents(NamedTuple):
    """The requests whose first token came out of a step, and those that it ended."""

    begun: list[Request]
    ended: list[Request]


def made_up_token(request: Request) -> int:
    """What a request's output is made of: a token that is in no other's."""
    return -request.sequence


def load_of(
    items: Iterable[ScheduledRequest], num_drafts: Mapping[str, int] = MappingProxyType({})
) -> StepLoad:
    """The sums over what a step computes, and over the drafts that it checks on top, by request."""
    tokens = sampled = context = pairs = 0
    for item in items:
        chunk = len(item.token_ids) + num_drafts.get(item.request_id, 0)
        tokens += chunk
        sampled += item.samples
        context += item.start + chunk
        pairs += chunk * item.start + chunk * (chunk + 1) // 2
    return StepLoad(tokens, sampled, context, pairs)


class CountingScheduler(Scheduler):
    """A Scheduler whose requests run to their `max_tokens`, at least 1, on made-up tokens.

    It is driven by `begin_step` and `end_step` instead of `schedule` and `update`, and decides as
    if every token had been passed to these; `abort` and `set_limits` may come between two steps.
    Only tenants' counters may differ in their last digit, unless weights are powers of two:
    they are charged for all of a step's tokens at once.
    """

    def __init__(
        self,
        limits: EngineLimits,
        hash_block: HashBlock = hash_block,
        *,
        policy: SchedulingPolicy = SchedulingPolicy.FAIR,
        tenant_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(limits, hash_block, policy=policy, tenant_weights=tenant_weights)
        self._step = 0
        self._whole: SchedulerOutput | None = None
        self._items: list[ScheduledRequest] = []
        self._is_counting = False
        # Of the requests that decode: the step before which each was brought up to date last, how
        # many of each tenant, and their known tokens in sum.
        self._since: dict[str, int] = {}
        self._decoding: Counter[str] = Counter()
        self._known = 0
        self._prompts: list[Request] = []
        self._due: defaultdict[int, list[Request]] = defaultdict(list)
        self._growing: list[Request] = []

    def check(self, request: Request) -> None:
        super().check(request)
        sampling = request.sampling
        special = sampling.stop_token_ids or sampling.needs_history or sampling.pooling is not None
        if sampling.max_tokens < 1 or special:
            raise ValueError(f"only lengths are simulated, at least 1 token, not {sampling}")

    def begin_step(self, now: float) -> StepLoad:
        """Deals one step, as `schedule` does."""
        if not self._is_counting:
            self._count()
        if len(self._growing) > self.pool.num_free:
            self._settle()
            self._whole = self.schedule(now)
            return load_of(self._whole.scheduled)
        if self._growing:
            for request in sorted(self._growing, key=self._waiting.place):
                request.block_ids += self.pool.allocate(1)
            self._growing.clear()
        count, known = len(self._since), self._known
        if len(self._requests) == count:
            return StepLoad(count, count, known, known)
        budget = self.limits.max_num_batched_tokens - count
        chunks = self._deal(self._prompts, budget, now, admitting=True)
        self._items = [
            scheduled_part(*chunk) for chunk in zip(self._prompts, chunks, strict=True) if chunk[1]
        ]
        tokens, sampled, context, pairs = load_of(self._items)
        return StepLoad(tokens + count, sampled + count, context + known, pairs + known)

    def end_step(self) -> StepEvents:
        """Gives every request of the step its tokens, as `update` does."""
        self._step += 1
        events = StepEvents([], [])
        if self._whole is not None:
            whole, self._whole = self._whole, None
            self._update(whole.scheduled, events)
            return events
        self._known += len(self._since)
        self.counters.charge_outputs(+self._decoding)
        due = self._due.pop(self._step, None)
        if due is not None:
            for request in sorted(due, key=self._waiting.place):
                self._catch_up(request, events)
        if self._prompts:
            items, self._items = self._items, []
            self._update(items, events)
            prompts, self._prompts = self._prompts, []
            for request in sorted(prompts, key=self._waiting.place):
                if request.finish_reason is None:
                    self._take(request)
        return events

    def quiet_steps(self) -> int:
        """How many steps from the one that was dealt on only give every running request a token,
        and end, begin and admit none if none is added."""
        if self._whole is not None or len(self._requests) != len(self._since):
            return 0
        if self._step + 1 in self._due:
            return 0
        return min(self._due, default=self._step + 1) - self._step - 1

    def pass_quiet(self, steps: int) -> None:
        """Ends so many of `quiet_steps` at once; the next one is dealt then."""
        self._step += steps
        self._known += steps * len(self._since)
        for tenant, count in self._decoding.items():
            if count:
                self.counters.charge(tenant, output=steps * count)

    def set_limits(self, live: LiveLimits) -> None:
        self._settle()
        super().set_limits(live)

    def _end(
        self, request_id: str, reason: FinishReason, error: str | None
    ) -> RequestOutput | None:
        self._settle()
        return super()._end(request_id, reason, error)

    def _count(self) -> None:
        """Begins to count the requests that decode."""
        self._is_counting = True
        for request in self._running:
            self._take(request)

    def _take(self, request: Request) -> None:
        """Takes a running request that is up to date for the next step."""
        if request.num_tokens - request.num_computed_tokens > 1:
            self._prompts.append(request)
            return
        self._decoding[request.tenant] += 1
        self._known += request.num_tokens
        self._note(request)

    def _note(self, request: Request) -> None:
        """Notes when a decoding request that is up to date is to be looked at again.

        That is after the step that computes the last token of a block, the one that brings its
        first token of output, or its last.
        """
        size, known, made = (
            self.limits.block_size,
            request.num_tokens,
            len(request.output_token_ids),
        )
        self._since[request.request_id] = self._step
        if len(request.block_ids) * size < known:
            self._growing.append(request)
        left = min(request.sampling.max_tokens - made, self.limits.max_model_len - known)
        steps = min(left, 1 + -known % size) if made else 1
        self._due[self._step + steps].append(request)

    def _catch_up(self, request: Request, events: StepEvents | None = None) -> None:
        """Gives a decoding request the tokens of all steps that ended since it was noted.

        With `events`, does what the last of them brought about.
        """
        steps = self._step - self._since.pop(request.request_id)
        token = made_up_token(request)
        request.num_computed_tokens += steps
        if events is None:
            request.output_token_ids += [token] * steps
            return
        request.output_token_ids += [token] * (steps - 1)
        if request.num_tokens % self.limits.block_size == 0:
            self.prefixes.register(request)
        request.output_token_ids.append(token)
        if len(request.output_token_ids) == 1:
            events.begun.append(request)
        limits, count = self.limits, len(request.output_token_ids)
        if count < request.sampling.max_tokens and request.num_tokens < limits.max_model_len:
            self._note(request)
            return
        self._known -= request.num_tokens
        self._decoding[request.tenant] -= 1
        self._release(request, FinishReason.LENGTH)
        events.ended.append(request)

    def _update(self, items: list[ScheduledRequest], events: StepEvents) -> None:
        """Passes a token for each of these to `update`."""
        requests = [self._requests[item.request_id] for item in items]
        sampled = {
            request.request_id: made_up_token(request)
            for item, request in zip(items, requests, strict=True)
            if item.samples
        }
        self.update(SchedulerOutput(items), StepResult(sampled))
        for item, request in zip(items, requests, strict=True):
            if item.samples and not item.output_index:
                events.begun.append(request)
            if request.finish_reason is not None:
                events.ended.append(request)

    def _settle(self) -> None:
        """Brings every decoding request up to date and stops counting until the next step."""
        for request in self._running:
            if request.request_id in self._since:
                self._catch_up(request)
        self._is_counting = False
        self._known = 0
        self._decoding.clear()
        self._due.clear()
        self._growing.clear()
        self._prompts.clear()

"""Decides, step by step, which tokens of which requests are computed next.

There are no phases. Each request has `num_computed_tokens` chasing `num_tokens`; prefill, a chunk
of it, decode and resuming after preemption are all "compute the next n tokens". The engine and
the simulation that the planner plans with drive this same class.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from plimsoll_runtime.core.blocks import BlockPool
from plimsoll_runtime.core.candidate import Candidate, next_candidate
from plimsoll_runtime.core.checks import check_limits
from plimsoll_runtime.core.draft_allowance import DraftAllowance
from plimsoll_runtime.core.fairness import SchedulingPolicy, TenantCounters
from plimsoll_runtime.core.limits import EngineLimits, LiveLimits
from plimsoll_runtime.core.prefix import HashBlock, PrefixCache, hash_block
from plimsoll_runtime.core.queue import QueueCount, RankedQueue, WaitingQueue
from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput, TokenLogprobs
from plimsoll_runtime.core.speculation import AcceptedDrafts, SpeculativeConfig
from plimsoll_runtime.core.step import ScheduledRequest, SchedulerOutput, scheduled_part
from plimsoll_runtime.core.step_result import StepResult

MEAN_DECAY = 1 / 32
"""Weight of the request that ended last in the mean of output lengths."""


class Scheduler:
    """Continuous batching over a paged KV cache, within `limits`, in the order of `policy`.

    `tenant_weights` are shares of service under the policies that know tenants; 1 where a name is
    missing. With `speculation` requests that decode may have drafts checked. Not thread-safe. Every
    step is `schedule`, the model, `update`; `add` and `abort` may come at any time between these
    calls, `set_limits` only before `schedule`.
    """

    def __init__(
        self,
        limits: EngineLimits,
        hash_block: HashBlock = hash_block,
        *,
        policy: SchedulingPolicy = SchedulingPolicy.FAIR,
        tenant_weights: Mapping[str, float] | None = None,
        speculation: SpeculativeConfig | None = None,
    ) -> None:
        self.limits = limits
        self.speculation = speculation
        self.counters = TenantCounters(tenant_weights)
        self.pool = BlockPool(limits.num_blocks)
        self.prefixes = PrefixCache(
            self.pool,
            limits.block_size,
            enabled=limits.enable_prefix_caching,
            hash_block=hash_block,
        )
        self._drafts = (
            None if speculation is None else DraftAllowance(speculation, limits, self.pool)
        )
        self.num_preemptions = 0
        self.mean_output_tokens: float | None = None
        self.mean_output_steps: float | None = None
        self._most = limits
        self._requests: dict[str, Request] = {}
        self._waiting = WaitingQueue(policy, self.counters)
        self._running = RankedQueue(self._waiting.place)
        self._sequence = 0
        self._admissions = 0

    @property
    def num_running(self) -> int:
        """Requests that hold blocks."""
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        """Requests that wait for a place, preempted ones included."""
        return len(self._waiting)

    @property
    def live_limits(self) -> LiveLimits:
        """The limits that may change, as they are now."""
        return self.limits.live._replace(num_usable_blocks=self.pool.num_usable)

    def set_limits(self, live: LiveLimits) -> None:
        """Changes limits between two steps, after `update` and before `schedule`.

        What no longer fits is preempted, last in place first, and comes back; nothing is dropped.
        Raises ValueError, and changes nothing, for limits that `EngineLimits.check_live` refuses.
        """
        self._most.check_live(live)
        self.limits = replace(
            self.limits,
            max_num_seqs=live.max_num_seqs,
            max_num_batched_tokens=live.max_num_batched_tokens,
        )
        self.pool.limit(live.num_usable_blocks)
        while len(self._running) > live.max_num_seqs or self.pool.num_used > self.pool.num_usable:
            self._preempt(self._running.pop_last())

    def waiting_summary(self) -> tuple[QueueCount, ...]:
        """Who waits, by tenant and priority."""
        return self._waiting.summary()

    def has_unfinished(self) -> bool:
        """Whether another step is needed."""
        return bool(self._requests)

    def unfinished_ids(self) -> list[str]:
        """The requests that run or wait, in order of arrival."""
        return list(self._requests)

    def check(self, request: Request) -> None:
        """Raises ValueError when no step could ever serve the request. Reads only the limits."""
        check_limits(request, self.limits)

    def add(self, request: Request) -> None:
        """Queues a request.

        Raises ValueError when it is too long or when its id is that of an unfinished one.
        """
        self.check(request)
        if request.request_id in self._requests:
            raise ValueError(f"request id {request.request_id!r} is in use")
        self._sequence += 1
        request.sequence = self._sequence
        self._requests[request.request_id] = request
        self._waiting.add(request)

    def abort(self, request_id: str) -> RequestOutput | None:
        """Ends a request now and frees its blocks; None when it has ended already."""
        return self._end(request_id, FinishReason.ABORT, None)

    def fail(self, request_id: str, error: str) -> RequestOutput | None:
        """Ends a request with an error; None when it has ended already."""
        return self._end(request_id, FinishReason.ERROR, error)

    def schedule(self, now: float) -> SchedulerOutput:
        """Deals one step's token budget; `now` is in seconds of the caller's clock.

        Requests that decode come first, so that no long prompt can hold them up, then unfinished
        prompts, then waiting requests. A decoding request that needs a block when none is free
        takes it from the lowest in rank, which is never one that this step already serves.
        """
        scheduled: list[ScheduledRequest] = []
        preempted: list[str] = []
        prompts: list[Request] = []
        # Preempted are the last, which shortens what is gone through here.
        for request in self._running:
            if request.num_tokens - request.num_computed_tokens > 1:
                prompts.append(request)
            elif self._has_next_block(request, preempted):
                scheduled.append(scheduled_part(request, 1))
        budget = self.limits.max_num_batched_tokens - len(scheduled)
        # A request that was just preempted must not come back in the same step.
        chunks = self._deal(prompts, budget, now, admitting=not preempted)
        num_decoding = len(scheduled)
        scheduled += [
            scheduled_part(*chunk) for chunk in zip(prompts, chunks, strict=True) if chunk[1]
        ]
        num_tokens = sum([len(item.token_ids) for item in scheduled])
        num_context_tokens = num_tokens + sum([item.start for item in scheduled])
        max_draft_tokens = 0
        if self._drafts is not None:
            left = self.limits.max_num_batched_tokens - num_tokens
            max_draft_tokens = self._drafts.deal(scheduled, num_decoding, left, self._requests)
        return SchedulerOutput(
            scheduled, preempted, num_tokens, num_context_tokens, max_draft_tokens
        )

    def _deal(
        self, prompts: list[Request], budget: int, now: float, *, admitting: bool
    ) -> list[int]:
        """How many tokens each of `prompts` gets; admits waiting requests to them while it can.

        Puts `prompts` in the order in which they are served. Tenants take turns: the first prompt
        of each comes before anybody's second, and so does a waiting request of a tenant that has
        none. No prompt gets more than its share before all others have had theirs; what is left
        then goes to the first in order.
        """
        waiting = self._waiting
        prompts[:] = waiting.by_turns(prompts)
        tenants = {waiting.group(request) for request in prompts}
        candidate = self._candidate() if admitting else None
        if candidate is not None:
            tenants.add(waiting.group(candidate.request))
        share = min(self.limits.prefill_share, -(-budget // max(1, len(tenants))))
        served: set[str] = set()
        chunks: list[int] = []
        while budget:
            following = prompts[len(chunks)] if len(chunks) < len(prompts) else None
            if candidate is not None and (
                following is None or waiting.goes_before(candidate.request, following, served)
            ):
                prompts.insert(len(chunks), self._admit(candidate, now))
                candidate = self._candidate()
            if len(chunks) == len(prompts):
                break
            request = prompts[len(chunks)]
            served.add(waiting.group(request))
            left = request.num_tokens - request.num_computed_tokens
            chunks.append(min(left, share, budget))
            budget -= chunks[-1]
        chunks += [0] * (len(prompts) - len(chunks))
        for index, request in enumerate(prompts):
            if not budget:
                break
            left = request.num_tokens - request.num_computed_tokens - chunks[index]
            more = min(left, budget)
            chunks[index] += more
            budget -= more
        return chunks

    def update(self, output: SchedulerOutput, result: StepResult) -> list[RequestOutput]:
        """Takes in what the model made of a step; says what each request that moved got.

        `result` has a token for every request of `output` with `samples`, except for those in
        `errors`, which end with that message, and those aborted since. Raises ValueError when a
        token or a sum is missing.
        """
        outputs = []
        made: Counter[str] = Counter()
        tokens: tuple[int, ...]
        told: tuple[TokenLogprobs, ...]
        block_size = self.limits.block_size
        for item in output.scheduled:
            name = item.request_id
            request = self._requests.get(name)
            if request is None:
                continue
            if name in result.errors:
                ended = self._end(name, FinishReason.ERROR, result.errors[name])
                outputs.extend([ended] if ended else [])
                continue
            tokens, told, reason = (), (), None
            if name in result.accepted:
                tokens, told, reason = self._take_drafts(request, result.accepted[name])
            # Keys and values of drafts that were not accepted will be overwritten.
            computed = item.start + len(item.token_ids) + len(tokens)
            request.num_computed_tokens = computed
            if computed // block_size > item.start // block_size:
                self.prefixes.register(request)
            scored = result.prompt_logprobs.get(name, ())
            request.num_scored_tokens += len(scored)
            if not item.samples:
                vector = _take_pooled(request, item, result.pooled)
                outputs += self._take_prompt(request, scored, vector)
                continue
            if reason is None:
                token = result.sampled.get(name)
                if token is None:
                    raise ValueError(f"no token was sampled for request {name!r}")
                reason = self._append(request, token)
                tokens += (token,)
                if name in result.logprobs:
                    told += (result.logprobs[name],)
            made[request.tenant] += len(tokens)
            if reason is not None:
                self._release(request, reason)
            elif self._drafts is not None and item.max_drafts:
                self._drafts.settle(request)
            outputs.append(request.output(tokens, reason, None, told or None, scored))
        self.counters.charge_outputs(made)
        return outputs

    def _take_prompt(
        self, request: Request, scored: tuple[TokenLogprobs, ...], vector: bytes
    ) -> list[RequestOutput]:
        """What a step brought a request for which it sampled nothing, and which may have ended."""
        reason = None
        if request.num_computed_tokens == request.num_tokens:
            reason = FinishReason.LENGTH
            self._release(request, reason)
        if not scored and not vector and reason is None:
            return []
        return [request.output((), reason, None, None, scored)._replace(pooled=vector)]

    def _append(self, request: Request, token: int) -> FinishReason | None:
        """Adds a token to a request's output, and says whether it is the last one."""
        request.output_token_ids.append(token)
        sampling = request.sampling
        count = len(request.output_token_ids)
        if token in sampling.stop_token_ids and count >= sampling.min_tokens:
            return FinishReason.STOP
        if count >= sampling.max_tokens or request.num_tokens >= self.limits.max_model_len:
            return FinishReason.LENGTH
        return None

    def _take_drafts(
        self, request: Request, drafts: AcceptedDrafts
    ) -> tuple[tuple[int, ...], tuple[TokenLogprobs, ...], FinishReason | None]:
        """Adds accepted drafts up to one that ends the request; which were added, and its end."""
        tokens, told = drafts
        for count, token in enumerate(tokens, 1):
            request.num_accepted_drafts += 1
            reason = self._append(request, token)
            if reason is not None:
                return tokens[:count], told[:count], reason
        return tokens, told, None

    def _has_next_block(self, request: Request, preempted: list[str]) -> bool:
        """Gives a decoding request the block of its next token; False when it was preempted."""
        if len(request.block_ids) * self.limits.block_size >= request.num_tokens:
            return True
        while not self.pool.num_free:
            victim = self._running.pop_last()
            self._preempt(victim)
            preempted.append(victim.request_id)
            if victim is request:
                return False
        request.block_ids += self.pool.allocate(1)
        return True

    def _preempt(self, victim: Request) -> None:
        self._free_blocks(victim)
        victim.num_computed_tokens = 0
        victim.num_preemptions += 1
        self.num_preemptions += 1
        self._waiting.add(victim)

    def _candidate(self) -> Candidate | None:
        return next_candidate(self._waiting, self._running, self.pool, self.prefixes, self.limits)

    def _admit(self, candidate: Candidate, now: float) -> Request:
        """Moves a candidate of this very moment to the running requests."""
        request, found, needed = candidate
        self._waiting.remove(request)
        self.prefixes.attach(request, found)
        request.block_ids += self.pool.allocate(needed)
        if not request.admission:
            self._admissions += 1
            request.admission = self._admissions
            request.first_scheduled_time = now
            new = request.num_tokens - request.num_computed_tokens
            self.counters.charge(request.tenant, prompt=new)
        self._running.add(request)
        return request

    def _end(
        self, request_id: str, reason: FinishReason, error: str | None
    ) -> RequestOutput | None:
        request = self._requests.get(request_id)
        if request is None:
            return None
        if reason is FinishReason.ERROR:
            self.prefixes.distrust(request)
        self._release(request, reason)
        return request.output((), reason, error)

    def _release(self, request: Request, reason: FinishReason) -> None:
        (self._running if request.block_ids else self._waiting).remove(request)
        self._free_blocks(request)
        request.finish_reason = reason
        del self._requests[request.request_id]
        self.counters.leave(request.tenant)
        count = len(request.output_token_ids)
        if count:
            self.mean_output_tokens = _moved(self.mean_output_tokens, count)
            steps = count - request.num_accepted_drafts
            self.mean_output_steps = _moved(self.mean_output_steps, steps)

    def _free_blocks(self, request: Request) -> None:
        """Gives the tail back first: a prefix is worth more to others than an end."""
        self.pool.free(reversed(request.block_ids))
        request.block_ids = []
        request.prefix = None


def _moved(mean: float | None, value: int) -> float:
    return value if mean is None else mean + (value - mean) * MEAN_DECAY


def _take_pooled(request: Request, item: ScheduledRequest, pooled: Mapping[str, bytes]) -> bytes:
    if item.pooled is None:
        return b""
    if item.request_id not in pooled:
        raise ValueError(f"no hidden states were summed for request {item.request_id!r}")
    request.num_pooled_tokens += item.pooled.stop - item.pooled.start
    return pooled[item.request_id]

"""Workloads at random, and a stand-in for the model that serves them step by step."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st

from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.limits import EngineLimits, LiveLimits
from plimsoll_runtime.core.prefix import HashBlock, hash_block
from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.speculation import AcceptedDrafts, SpeculativeConfig
from plimsoll_runtime.core.step import ScheduledRequest, SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult

FAIR, PRIORITY, FCFS = SchedulingPolicy
policies = st.sampled_from(SchedulingPolicy)


@st.composite
def limits(draw: st.DrawFn) -> EngineLimits:
    seqs = draw(st.integers(1, 6))
    block_size = draw(st.sampled_from([1, 2, 4]))
    blocks = draw(st.integers(4, 14) | st.integers(16, 40))
    return EngineLimits(
        max_num_seqs=seqs,
        max_num_batched_tokens=draw(st.integers(seqs, 20)),
        max_model_len=draw(st.integers(2, blocks * block_size)),
        num_blocks=blocks,
        block_size=block_size,
        enable_prefix_caching=draw(st.booleans()),
        long_prefill_token_threshold=draw(st.none() | st.integers(1, 8)),
    )


@dataclass(frozen=True)
class Arrival:
    step: int
    prompt: int
    max_tokens: int
    priority: int
    abort_after: int | None
    family: int | None = None
    diverges: bool = False
    salt: str = ""
    tenant: str = ""

    def prompt_of(self, number: int) -> list[int]:
        """Requests of a family ask for prefixes of one text, which the model also writes itself.

        So they share prompts and answers, and are each other's turns, but for their last token
        when they diverge.
        """
        if self.family is None:
            return [number] * self.prompt
        text = [self.family, *alone([self.family], 40)][: self.prompt]
        return [*text[:-1], 1000 + number] if self.diverges else text


arrivals = st.lists(
    st.builds(
        Arrival,
        step=st.integers(0, 12),
        prompt=st.integers(1, 40),
        max_tokens=st.integers(1, 25),
        priority=st.integers(-1, 1),
        abort_after=st.none() | st.integers(0, 15),
        family=st.none() | st.integers(100, 101),
        diverges=st.booleans(),
        salt=st.sampled_from(["", "", "tenant"]),
        tenant=st.sampled_from(["", "a", "b"]),
    ),
    min_size=1,
    max_size=10,
)


def next_token(tokens: list[int]) -> int:
    """A stand-in for the model that depends on every token before."""
    return sum((i + 1) * t for i, t in enumerate(tokens)) % 997


def alone(prompt: list[int], count: int) -> list[int]:
    tokens = prompt.copy()
    for _ in range(count):
        tokens.append(next_token(tokens))
    return tokens[len(prompt) :]


@dataclass
class Memory:
    """A KV cache of tokens and salts: what a model would read through the block tables."""

    block_size: int
    slots: dict[tuple[int, int], tuple[str, int]] = field(default_factory=dict)

    def write(self, item: ScheduledRequest, salt: str) -> None:
        size = self.block_size
        for position, token in enumerate(item.token_ids, start=item.start):
            self.slots[item.block_ids[position // size], position % size] = (salt, token)

    def read(self, item: ScheduledRequest, salt: str) -> list[int]:
        """The tokens up to the item's last; fails when one of them is another tenant's."""
        size = self.block_size
        stop = item.start + len(item.token_ids)
        read = [self.slots[item.block_ids[p // size], p % size] for p in range(stop)]
        assert {owner for owner, _ in read} == {salt}
        return [token for _, token in read]


def with_drafts(item: ScheduledRequest, guess: "Guess") -> ScheduledRequest:
    """What a runner makes of an item that may have drafts."""
    if not item.max_drafts:
        return item
    assert item.history is not None
    known = item.history.prompt_token_ids + item.history.output_token_ids
    drafts = guess(item.request_id, known, item.max_drafts)
    assert len(drafts) <= item.max_drafts
    return item._replace(token_ids=item.token_ids + drafts, num_drafts=len(drafts))


def checked(tokens: list[int], num_drafts: int) -> list[int]:
    """The model's own tokens as far as the last `num_drafts` of `tokens` are these."""
    known = tokens[: len(tokens) - num_drafts]
    chosen = [next_token(known)]
    for draft in tokens[len(known) :]:
        if draft != chosen[-1]:
            break
        known.append(draft)
        chosen.append(next_token(known))
    return chosen


def chosen(
    items: list[ScheduledRequest], memory: Memory, salts: dict[str, str]
) -> tuple[dict[str, int], dict[str, AcceptedDrafts]]:
    """The model's token for each that samples, and the drafts before it that are right."""
    sampled, accepted = {}, {}
    for item in items:
        tokens = memory.read(item, salts[item.request_id])
        if item.samples:
            *drafts, sampled[item.request_id] = checked(tokens, item.num_drafts)
            if drafts:
                accepted[item.request_id] = AcceptedDrafts(tuple(drafts))
    return sampled, accepted


Check = Callable[[Scheduler, SchedulerOutput], None]
Guess = Callable[[str, list[int], int], list[int]]
"""From a request's id, its tokens so far and how many may be guessed to guesses."""
Changes = dict[int, LiveLimits]
"""New limits, by the step that they come before."""


@st.composite
def changing(draw: st.DrawFn) -> tuple[EngineLimits, Changes]:
    """Limits, and others that an engine started with them can take."""
    most = draw(limits())
    fewest = -(-most.max_model_len // most.block_size)
    changes = {}
    for step in draw(st.sets(st.integers(0, 25), max_size=6)):
        seqs = draw(st.integers(1, most.max_num_seqs))
        tokens = draw(st.integers(seqs, most.max_num_batched_tokens))
        changes[step] = LiveLimits(seqs, tokens, draw(st.integers(fewest, most.num_blocks)))
    return most, changes


def serve(
    limit: EngineLimits,
    workload: list[Arrival],
    check: Check | None = None,
    hash_block: HashBlock = hash_block,
    policy: SchedulingPolicy = FAIR,
    changes: Changes | None = None,
    requests: dict[str, Request] | None = None,
    speculation: SpeculativeConfig | None = None,
    guess: Guess = lambda *_: [],
) -> tuple[dict[str, list[RequestOutput]], list[SchedulerOutput]]:
    """Drives a scheduler until all is served; fails when that takes unreasonably many steps."""
    scheduler = Scheduler(limit, hash_block, policy=policy, speculation=speculation)
    memory = Memory(limit.block_size)
    outputs: dict[str, list[RequestOutput]] = {}
    steps: list[SchedulerOutput] = []
    work = sum(min(a.prompt + a.max_tokens, limit.max_model_len) for a in workload)
    index = 0
    while index <= 12 or scheduler.has_unfinished():
        # Each token may be computed once more for every other request, which is generous.
        assert index < 50 + work * (len(workload) + 1), "no progress"
        if changes and index in changes:
            scheduler.set_limits(changes[index])
            assert scheduler.live_limits == changes[index]
        for number, arrival in enumerate(workload):
            name = f"r{number}"
            if arrival.step == index and arrival.prompt < limit.max_model_len:
                sampling = SamplingParams(max_tokens=arrival.max_tokens)
                request = Request(
                    name,
                    arrival.prompt_of(number),
                    sampling,
                    float(index),
                    arrival.priority,
                    arrival.salt,
                    arrival.tenant,
                )
                if requests is not None:
                    requests[name] = request
                scheduler.add(request)
            if arrival.abort_after is not None and index == arrival.step + arrival.abort_after:
                ended = scheduler.abort(name)
                outputs.setdefault(name, []).extend([ended] if ended else [])
        output = scheduler.schedule(float(index))
        steps.append(output)
        assert output.scheduled or not scheduler.has_unfinished(), "a step that does nothing"
        if check is not None:
            check(scheduler, output)
        # As in the model: all of a step is written before anything is read.
        salts = {i.request_id: workload[int(i.request_id[1:])].salt for i in output.scheduled}
        items = [with_drafts(item, guess) for item in output.scheduled]
        for item in items:
            memory.write(item, salts[item.request_id])
        sampled, accepted = chosen(items, memory, salts)
        for out in scheduler.update(output, StepResult(sampled, accepted=accepted)):
            outputs.setdefault(out.request_id, []).append(out)
        index += 1
    assert scheduler.pool.num_used == 0
    assert (scheduler.num_running, scheduler.num_waiting) == (0, 0)
    assert scheduler.waiting_summary() == ()
    return outputs, steps


def check_tokens(
    limit: EngineLimits, workload: list[Arrival], outputs: dict[str, list[RequestOutput]]
) -> None:
    for number, arrival in enumerate(workload):
        if arrival.prompt >= limit.max_model_len:
            assert not outputs.get(f"r{number}")
            continue
        got = outputs.get(f"r{number}", [])
        tokens = [token for item in got for token in item.new_token_ids]
        count = min(arrival.max_tokens, limit.max_model_len - arrival.prompt)
        expected = alone(arrival.prompt_of(number), count)
        reasons = [item.finish_reason for item in got if item.finish_reason]
        if reasons == [FinishReason.ABORT]:
            assert tokens == expected[: len(tokens)]
        elif reasons or arrival.abort_after is None or arrival.abort_after > 0:
            assert reasons == [FinishReason.LENGTH]
            assert tokens == expected
            assert got[-1].finish_reason is FinishReason.LENGTH


def a_thousand_requests() -> list[Arrival]:
    """Of every kind, from one seed: families, salts, priorities, and clients that leave."""
    rng = random.Random(7)
    return [
        Arrival(
            step=rng.randrange(12),
            prompt=rng.randint(1, 30),
            max_tokens=rng.randint(1, 40),
            priority=rng.choice([-1, 0, 0, 1]),
            abort_after=rng.choice([None, None, None, 3, 40, 200]),
            family=rng.choice([None, 100, 101, 102, 103]),
            diverges=rng.random() < 0.3,
            salt=rng.choice(["", "a", "b"]),
        )
        for _ in range(1000)
    ]

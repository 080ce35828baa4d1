"""What holds for the scheduler at every step of any workload, above all in tiny pools."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
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


@given(changing(), arrivals, policies)
@settings(max_examples=200)
def test_limits_and_books_hold_at_every_step(
    limits: tuple[EngineLimits, Changes], workload: list[Arrival], policy: SchedulingPolicy
) -> None:
    most, changes = limits

    def check(scheduler: Scheduler, output: SchedulerOutput) -> None:
        items = output.scheduled
        pool = scheduler.pool
        limit = scheduler.live_limits
        assert pool.num_free + pool.num_used + pool.num_withheld == most.num_blocks
        assert pool.num_withheld == most.num_blocks - limit.num_usable_blocks
        assert len(items) <= scheduler.num_running <= limit.max_num_seqs
        assert output.num_tokens == sum(len(i.token_ids) for i in items)
        assert output.num_tokens <= limit.max_num_batched_tokens
        assert output.num_context_tokens == sum(i.start + len(i.token_ids) for i in items)
        assert len({i.request_id for i in items}) == len(items)
        assert not {i.request_id for i in items} & set(output.preempted)
        used = [block for block in range(most.num_blocks) if scheduler.pool.references(block)]
        assert scheduler.pool.num_used == len(used)
        tables = Counter(block for i in items for block in i.block_ids)
        assert all(scheduler.pool.references(block) >= tables[block] for block in tables)
        for item in items:
            assert item.token_ids
            assert len(item.block_ids) * most.block_size >= item.start + len(item.token_ids)
            written = item.block_ids[item.start // most.block_size :]
            assert all(scheduler.pool.references(b) == 1 for b in written), "written and shared"
        waiting = scheduler.waiting_summary()
        assert sum(each.num_requests for each in waiting) == scheduler.num_waiting

    serve(most, workload, check, policy=policy, changes=changes)


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


@given(changing(), arrivals, policies)
@settings(max_examples=300)
def test_every_request_gets_the_tokens_it_gets_alone(
    limits: tuple[EngineLimits, Changes], workload: list[Arrival], policy: SchedulingPolicy
) -> None:
    limit, changes = limits
    outputs, _ = serve(limit, workload, policy=policy, changes=changes)
    check_tokens(limit, workload, outputs)


def constant(before: bytes, tokens: bytes) -> bytes:
    return b""


def only_own_tokens(before: bytes, tokens: bytes) -> bytes:
    return tokens


def two_values(before: bytes, tokens: bytes) -> bytes:
    return b"low" if hash_block(before, tokens) < b"\x80" else b"high"


@pytest.mark.parametrize("adversary", [constant, only_own_tokens, two_values])
@given(limit=limits(), workload=arrivals)
def test_no_hash_function_can_mix_up_contents(
    adversary: HashBlock, limit: EngineLimits, workload: list[Arrival]
) -> None:
    """The memory fails when a table leads to another's tokens; so would the answers."""
    limit = replace(limit, enable_prefix_caching=True)
    outputs, _ = serve(limit, workload, hash_block=adversary)
    check_tokens(limit, workload, outputs)


@given(limits(), arrivals)
def test_who_decodes_gets_a_token_in_every_step_until_preempted(
    limit: EngineLimits, workload: list[Arrival]
) -> None:
    decoding: set[str] = set()

    def check(scheduler: Scheduler, output: SchedulerOutput) -> None:
        sampling = {i.request_id for i in output.scheduled if i.samples}
        unfinished = set(scheduler.unfinished_ids())
        assert decoding & unfinished <= sampling | set(output.preempted)
        decoding.clear()
        decoding.update(sampling)

    serve(limit, workload, check)


@given(limits(), arrivals)
def test_the_same_workload_gives_the_same_steps(
    limit: EngineLimits, workload: list[Arrival]
) -> None:
    assert serve(limit, workload) == serve(limit, workload)


@given(limits(), arrivals, policies)
def test_only_the_last_in_place_are_preempted(
    limit: EngineLimits, workload: list[Arrival], policy: SchedulingPolicy
) -> None:
    """So the first in place always goes on and finishes, and then another is first."""
    requests: dict[str, Request] = {}
    numbers: dict[str, int] = {}

    def place(name: str) -> tuple[int, int]:
        request = requests[name]
        assert request.admission == numbers.setdefault(name, request.admission) > 0
        return request.priority if policy is PRIORITY else 0, request.admission

    def check(scheduler: Scheduler, output: SchedulerOutput) -> None:
        if output.preempted:
            kept = max(place(item.request_id) for item in output.scheduled)
            assert kept < min(map(place, output.preempted))

    serve(limit, workload, check, policy=policy, requests=requests)


@given(limits(), arrivals)
def test_with_one_tenant_policies_differ_in_priorities_only(
    limit: EngineLimits, workload: list[Arrival]
) -> None:
    one = [replace(each, tenant="one") for each in workload]
    equals = [replace(each, priority=0) for each in one]
    assert serve(limit, equals, policy=FAIR) == serve(limit, equals, policy=FCFS)
    assert serve(limit, equals, policy=PRIORITY) == serve(limit, equals, policy=FCFS)
    assert serve(limit, one, policy=FCFS)[1] == serve(limit, equals, policy=FCFS)[1]


def test_tiny_pools_do_preempt() -> None:
    """The properties above would say little if their workloads never ran out of blocks."""
    limit = EngineLimits(4, 16, 24, 6, 4)
    workload = [Arrival(0, 4, 20, 0, None) for _ in range(5)]
    _, steps = serve(limit, workload)
    assert sum(len(step.preempted) for step in steps) > 3


def test_families_do_share() -> None:
    """The properties above would say little if nothing was ever found."""
    limit = EngineLimits(4, 16, 40, 20, 4)
    workload = [Arrival(2 * n, 20 + n, 5, 0, None, family=100) for n in range(5)]
    outputs, steps = serve(limit, workload)
    assert [outputs[f"r{n}"][0].cached_tokens for n in range(1, 5)] != [0, 0, 0, 0]
    tables = [Counter(b for i in each.scheduled for b in i.block_ids) for each in steps]
    assert max(max(table.values()) for table in tables if table) > 1


@pytest.mark.parametrize("caching", [True, False])
def test_a_thousand_requests_under_pressure(caching: bool) -> None:
    rng = random.Random(7)
    limit = EngineLimits(8, 24, 64, 24, 4, caching)
    families = [None, 100, 101, 102, 103]
    workload = [
        Arrival(
            step=rng.randrange(12),
            prompt=rng.randint(1, 30),
            max_tokens=rng.randint(1, 40),
            priority=rng.choice([-1, 0, 0, 1]),
            abort_after=rng.choice([None, None, None, 3, 40, 200]),
            family=rng.choice(families),
            diverges=rng.random() < 0.3,
            salt=rng.choice(["", "a", "b"]),
        )
        for _ in range(1000)
    ]
    outputs, steps = serve(limit, workload)
    check_tokens(limit, workload, outputs)
    cached = sum(items[-1].cached_tokens for items in outputs.values())
    assert (cached > 500) if caching else (cached == 0)
    assert sum(len(each.preempted) for each in steps) > 100


@pytest.mark.parametrize("policy", list(SchedulingPolicy))
def test_a_thousand_requests_of_tenants_while_limits_change(policy: SchedulingPolicy) -> None:
    """With enough places and blocks that some are left to tenants with less than their part."""
    rng = random.Random(11)
    limit = EngineLimits(20, 40, 64, 40, 4)
    workload = [
        Arrival(
            step=rng.randrange(12),
            prompt=rng.randint(1, 30),
            max_tokens=rng.randint(1, 30),
            priority=rng.choice([-1, 0, 0, 1]),
            abort_after=rng.choice([None, None, None, 3, 40, 200]),
            family=rng.choice([None, 100]),
            salt=(tenant := rng.choice(["flood"] * 8 + ["a", "b"])),
            tenant=tenant,
        )
        for _ in range(1000)
    ]
    changes = {}
    for step in range(0, 2000, 25):
        seqs = rng.randint(1, 20)
        changes[step] = LiveLimits(seqs, rng.randint(seqs, 40), rng.randint(16, 40))
    outputs, steps = serve(limit, workload, policy=policy, changes=changes)
    check_tokens(limit, workload, outputs)
    assert sum(len(each.preempted) for each in steps) > 25
    assert len(steps) > 400

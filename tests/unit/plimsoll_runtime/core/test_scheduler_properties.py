"""What holds for the scheduler at every step of any workload, above all in tiny pools."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput, SamplingParams
from plimsoll_runtime.core.scheduler import ScheduledRequest, Scheduler, SchedulerOutput


@st.composite
def limits(draw: st.DrawFn) -> EngineLimits:
    seqs = draw(st.integers(1, 6))
    block_size = draw(st.sampled_from([1, 2, 4]))
    blocks = draw(st.integers(4, 14))
    return EngineLimits(
        max_num_seqs=seqs,
        max_num_batched_tokens=draw(st.integers(seqs, 20)),
        max_model_len=draw(st.integers(2, blocks * block_size)),
        num_blocks=blocks,
        block_size=block_size,
    )


@dataclass(frozen=True)
class Arrival:
    step: int
    prompt: int
    max_tokens: int
    priority: int
    abort_after: int | None


arrivals = st.lists(
    st.builds(
        Arrival,
        step=st.integers(0, 12),
        prompt=st.integers(1, 40),
        max_tokens=st.integers(1, 25),
        priority=st.integers(-1, 1),
        abort_after=st.none() | st.integers(0, 15),
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
    """A KV cache of tokens: what a model would read through the block tables."""

    block_size: int
    slots: dict[tuple[int, int], int] = field(default_factory=dict)

    def run(self, item: ScheduledRequest) -> int:
        size = self.block_size
        for position, token in enumerate(item.token_ids, start=item.start):
            self.slots[item.block_ids[position // size], position % size] = token
        stop = item.start + len(item.token_ids)
        return next_token([self.slots[item.block_ids[p // size], p % size] for p in range(stop)])


Check = Callable[[Scheduler, SchedulerOutput], None]


def serve(
    limit: EngineLimits, workload: list[Arrival], check: Check | None = None
) -> tuple[dict[str, list[RequestOutput]], list[SchedulerOutput]]:
    """Drives a scheduler until all is served; fails when that takes unreasonably many steps."""
    scheduler = Scheduler(limit)
    memory = Memory(limit.block_size)
    outputs: dict[str, list[RequestOutput]] = {}
    steps: list[SchedulerOutput] = []
    work = sum(min(a.prompt + a.max_tokens, limit.max_model_len) for a in workload)
    index = 0
    while index <= 12 or scheduler.has_unfinished():
        # Each token may be computed once more for every other request, which is generous.
        assert index < 50 + work * (len(workload) + 1), "no progress"
        for number, arrival in enumerate(workload):
            name = f"r{number}"
            if arrival.step == index and arrival.prompt < limit.max_model_len:
                sampling = SamplingParams(max_tokens=arrival.max_tokens)
                prompt = [number] * arrival.prompt
                scheduler.add(Request(name, prompt, sampling, float(index), arrival.priority))
            if arrival.abort_after is not None and index == arrival.step + arrival.abort_after:
                ended = scheduler.abort(name)
                outputs.setdefault(name, []).extend([ended] if ended else [])
        output = scheduler.schedule(float(index))
        steps.append(output)
        assert output.scheduled or not scheduler.has_unfinished(), "a step that does nothing"
        if check is not None:
            check(scheduler, output)
        tokens = {i.request_id: memory.run(i) for i in output.scheduled}
        sampled = {i.request_id: tokens[i.request_id] for i in output.scheduled if i.samples}
        for item in scheduler.update(output, sampled):
            outputs.setdefault(item.request_id, []).append(item)
        index += 1
    assert scheduler.pool.num_used == 0
    assert (scheduler.num_running, scheduler.num_waiting) == (0, 0)
    return outputs, steps


@given(limits(), arrivals)
def test_limits_and_books_hold_at_every_step(limit: EngineLimits, workload: list[Arrival]) -> None:
    def check(scheduler: Scheduler, output: SchedulerOutput) -> None:
        items = output.scheduled
        assert scheduler.pool.num_free + scheduler.pool.num_used == limit.num_blocks
        assert len(items) <= scheduler.num_running <= limit.max_num_seqs
        assert output.num_tokens == sum(len(i.token_ids) for i in items)
        assert output.num_tokens <= limit.max_num_batched_tokens
        assert output.num_context_tokens == sum(i.start + len(i.token_ids) for i in items)
        assert len({i.request_id for i in items}) == len(items)
        assert not {i.request_id for i in items} & set(output.preempted)
        blocks = [block for i in items for block in i.block_ids]
        assert len(set(blocks)) == len(blocks), "a block in two tables"
        for item in items:
            assert item.token_ids
            assert len(item.block_ids) * limit.block_size >= item.start + len(item.token_ids)

    serve(limit, workload, check)


@given(limits(), arrivals)
@settings(max_examples=200)
def test_every_request_gets_the_tokens_it_gets_alone(
    limit: EngineLimits, workload: list[Arrival]
) -> None:
    outputs, _ = serve(limit, workload)
    for number, arrival in enumerate(workload):
        if arrival.prompt >= limit.max_model_len:
            assert not outputs.get(f"r{number}")
            continue
        got = outputs.get(f"r{number}", [])
        tokens = [token for item in got for token in item.new_token_ids]
        count = min(arrival.max_tokens, limit.max_model_len - arrival.prompt)
        expected = alone([number] * arrival.prompt, count)
        reasons = [item.finish_reason for item in got if item.finish_reason]
        if reasons == [FinishReason.ABORT]:
            assert tokens == expected[: len(tokens)]
        elif reasons or arrival.abort_after is None or arrival.abort_after > 0:
            assert reasons == [FinishReason.LENGTH]
            assert tokens == expected
            assert got[-1].finish_reason is FinishReason.LENGTH


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


@given(limits(), arrivals)
def test_only_the_lowest_in_rank_are_preempted(
    limit: EngineLimits, workload: list[Arrival]
) -> None:
    """So the first in rank always goes on and finishes, and then another is first."""

    def rank(name: str) -> tuple[int, int, int]:
        number = int(name[1:])
        return workload[number].priority, workload[number].step, number

    def check(scheduler: Scheduler, output: SchedulerOutput) -> None:
        if output.preempted:
            kept = max(rank(item.request_id) for item in output.scheduled)
            assert kept < min(map(rank, output.preempted))

    serve(limit, workload, check)


def test_tiny_pools_do_preempt() -> None:
    """The properties above would say little if their workloads never ran out of blocks."""
    limit = EngineLimits(4, 16, 24, 6, 4)
    workload = [Arrival(0, 4, 20, 0, None) for _ in range(5)]
    _, steps = serve(limit, workload)
    assert sum(len(step.preempted) for step in steps) > 3

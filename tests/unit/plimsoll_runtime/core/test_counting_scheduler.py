"""Counting decides exactly as the scheduler does when every token is passed to it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_runtime.core.counting import (
    CountingScheduler,
    StepEvents,
    StepLoad,
    load_of,
    made_up_token,
)
from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.limits import EngineLimits, LiveLimits
from plimsoll_runtime.core.request import FinishReason, Request, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult

WEIGHTS = {"b": 2.0, "c": 0.5}


class PlainScheduler(Scheduler):
    """What counting stands for: every token through `schedule` and `update`."""

    step: SchedulerOutput

    def begin_step(self, now: float) -> StepLoad:
        self.step = self.schedule(now)
        return load_of(self.step.scheduled)

    def end_step(self) -> StepEvents:
        items = self.step.scheduled
        requests = {item.request_id: self._requests[item.request_id] for item in items}
        sampled = {i.request_id: made_up_token(requests[i.request_id]) for i in items if i.samples}
        made = self.update(self.step, StepResult(sampled))
        first = {item.request_id for item in items if item.samples and not item.output_index}
        return StepEvents(
            [requests[name] for name in requests if name in first],
            [requests[each.request_id] for each in made if each.finish_reason is not None],
        )


@dataclass(frozen=True)
class Arrival:
    step: int
    prompt: int
    max_tokens: int
    priority: int
    tenant: str
    family: int | None
    abort_after: int | None

    def request(self, number: int) -> Request:
        """Requests of a family share as much of their prompts as they can."""
        name = 1000 + number if self.family is None else self.family
        sampling = SamplingParams(self.max_tokens)
        prompt = [name] * (self.prompt - 1) + [1000 + number]
        return Request(
            str(number), prompt, sampling, float(self.step), self.priority, "", self.tenant
        )


arrivals = st.lists(
    st.builds(
        Arrival,
        step=st.integers(0, 30),
        prompt=st.integers(1, 30),
        max_tokens=st.integers(1, 40),
        priority=st.integers(-1, 1),
        tenant=st.sampled_from(["", "", "a", "b", "c"]),
        family=st.none() | st.integers(1, 2),
        abort_after=st.sampled_from([None, None, None, 0, 3, 17]),
    ),
    min_size=1,
    max_size=14,
)


@st.composite
def engines(draw: st.DrawFn) -> EngineLimits:
    seqs = draw(st.integers(1, 8))
    block_size = draw(st.sampled_from([1, 2, 4, 16]))
    blocks = draw(st.integers(4, 14) | st.integers(16, 80))
    return EngineLimits(
        max_num_seqs=seqs,
        max_num_batched_tokens=draw(st.integers(seqs, 30)),
        max_model_len=draw(st.integers(2, blocks * block_size)),
        num_blocks=blocks,
        block_size=block_size,
        enable_prefix_caching=draw(st.booleans()),
    )


@dataclass
class Played:
    """What happened, step by step, and the requests in the end."""

    steps: list[object] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)


def play(
    scheduler: CountingScheduler | PlainScheduler,
    wanted: list[Arrival],
    changes: dict[int, LiveLimits],
) -> Played:
    played = Played()
    aborts: dict[int, list[str]] = {}
    number = 0
    coming = sorted(wanted, key=lambda each: each.step)
    while number < len(coming) or scheduler.has_unfinished():
        step = len(played.steps)
        if step in changes:
            scheduler.set_limits(changes[step])
        for name in aborts.get(step, ()):
            scheduler.abort(name)
        while number < len(coming) and coming[number].step <= step:
            request = coming[number].request(number)
            after = coming[number].abort_after
            number += 1
            if len(request.prompt_token_ids) >= scheduler.limits.max_model_len:
                continue
            scheduler.add(request)
            played.requests.append(request)
            if after is not None:
                aborts.setdefault(step + after, []).append(request.request_id)
        load = scheduler.begin_step(0.5 * step)
        held = [each.block_ids.copy() for each in played.requests]
        events = scheduler.end_step()
        played.steps.append((load, held, *state(scheduler, events, played.requests)))
        assert step < 5000
    return played


def state(scheduler: Scheduler, events: StepEvents, requests: list[Request]) -> Iterator[object]:
    """All that a later decision could depend on, or that is told."""
    yield sorted(each.request_id for each in events.begun)
    yield sorted(each.request_id for each in events.ended)
    yield [each.block_ids.copy() for each in requests]
    yield [(each.tenant, each.admission, each.first_scheduled_time) for each in requests]
    yield [(each.num_cached_tokens, each.num_preemptions) for each in requests]
    yield scheduler.num_running, scheduler.num_preemptions, scheduler.mean_output_tokens
    yield scheduler.pool.num_free, scheduler.pool.num_withheld
    yield [scheduler.pool.references(number) for number in range(scheduler.pool.num_blocks)]
    yield scheduler.prefixes.num_queries, scheduler.prefixes.num_hits
    yield [scheduler.counters[tenant] for tenant in ("", "a", "b", "c")]
    yield scheduler.waiting_summary()


@given(
    engines(),
    arrivals,
    st.sampled_from(SchedulingPolicy),
    st.dictionaries(st.integers(1, 40), st.floats(0.3, 1), max_size=2),
)
@settings(max_examples=300)
def test_counting_decides_as_the_scheduler_does(
    limits: EngineLimits,
    wanted: list[Arrival],
    policy: SchedulingPolicy,
    cuts: dict[int, float],
) -> None:
    least = -(-limits.max_model_len // limits.block_size)
    changes = {
        step: LiveLimits(
            max(1, int(limits.max_num_seqs * cut)),
            limits.max_num_batched_tokens,
            max(least, int(limits.num_blocks * cut)),
        )
        for step, cut in cuts.items()
    }
    counted, plain = (
        play(kind(limits, policy=policy, tenant_weights=WEIGHTS), wanted, changes)
        for kind in (CountingScheduler, PlainScheduler)
    )
    for number, (one, other) in enumerate(zip(counted.steps, plain.steps, strict=False)):
        assert one == other, f"step {number}"
    assert len(counted.steps) == len(plain.steps)
    assert counted.requests == plain.requests
    assert all(each.finish_reason is not None for each in counted.requests)


def test_a_preemption_is_counted_out_by_the_scheduler() -> None:
    """Or the test above would show little."""
    limits = EngineLimits(2, 16, 32, num_blocks=8, block_size=4)
    wanted = [Arrival(0, 10, 20, 0, "", None, None)] * 2
    played = play(CountingScheduler(limits), wanted, {})
    assert [each.num_preemptions for each in played.requests] == [0, 1]
    assert [each.finish_reason for each in played.requests] == [FinishReason.LENGTH] * 2


def test_what_cannot_be_counted_is_refused() -> None:
    scheduler = CountingScheduler(EngineLimits(2, 16, 32, 8, 4))
    for sampling in (
        SamplingParams(0),
        SamplingParams(4, stop_token_ids=frozenset([1])),
        SamplingParams(4, repetition_penalty=1.1),
    ):
        with pytest.raises(ValueError, match="only lengths"):
            scheduler.add(Request("a", [1], sampling, 0.0))

"""What drafts may take of a step, what becomes of them, and that nobody else notices."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.limits import EngineLimits, LiveLimits
from plimsoll_runtime.core.request import FinishReason, Request, SamplingParams, TokenLogprobs
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.speculation import AcceptedDrafts, SpeculativeConfig, SpeculativeMethod
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult
from tests.unit.plimsoll_runtime.core.workloads import (
    Arrival,
    Changes,
    Guess,
    a_thousand_requests,
    alone,
    arrivals,
    changing,
    check_tokens,
    limits,
    policies,
    serve,
)

NGRAM = SpeculativeMethod.NGRAM
configs = st.builds(
    SpeculativeConfig,
    method=st.just(NGRAM),
    num_speculative_tokens=st.integers(1, 7),
    disable_by_batch_size=st.none() | st.integers(1, 4),
)


def guesses(seed: int, right: float) -> Guess:
    """Some drafts, each of which is right with that probability if all before it are."""
    rng = random.Random(seed)

    def guess(_: str, known: list[int], most: int) -> list[int]:
        truth = alone(known, rng.randint(0, most))
        return [token if rng.random() < right else 998 for token in truth]

    return guess


guessers = st.builds(guesses, st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 0.9, 1.0]))


@given(changing(), arrivals, policies, configs, guessers)
@settings(max_examples=150)
def test_tokens_and_books_are_right_whatever_is_guessed(
    limits: tuple[EngineLimits, Changes],
    workload: list[Arrival],
    policy: SchedulingPolicy,
    config: SpeculativeConfig,
    guess: Guess,
) -> None:
    most, changes = limits

    def check(scheduler: Scheduler, output: SchedulerOutput) -> None:
        pool, items = scheduler.pool, output.scheduled
        assert pool.num_free + pool.num_used + pool.num_withheld == most.num_blocks
        drafts = [item.max_drafts for item in items]
        assert output.max_draft_tokens == sum(drafts)
        tokens = output.num_tokens + output.max_draft_tokens
        assert tokens <= scheduler.live_limits.max_num_batched_tokens
        assert max(drafts, default=0) <= config.num_speculative_tokens
        if len(items) > (config.disable_by_batch_size or len(items)):
            assert not any(drafts)
        for item in items:
            stop = item.start + len(item.token_ids) + item.max_drafts
            assert stop < most.max_model_len or not item.max_drafts
            assert len(item.block_ids) == -(-stop // most.block_size) or not item.samples
            written = item.block_ids[item.start // most.block_size :]
            assert all(pool.references(block) == 1 for block in written), "written and shared"

    outputs, _ = serve(
        most,
        workload,
        check,
        policy=policy,
        changes=changes,
        speculation=config,
        guess=guess,
    )
    check_tokens(most, workload, outputs)


@given(limits(), arrivals, policies, configs)
@settings(max_examples=60)
def test_wrong_guesses_change_no_step(
    limit: EngineLimits,
    workload: list[Arrival],
    policy: SchedulingPolicy,
    config: SpeculativeConfig,
) -> None:
    """Neither what is computed nor who is preempted or admitted: drafts take what is left."""
    limit = replace(limit, enable_prefix_caching=False)
    outputs, steps = serve(limit, workload, policy=policy)
    with_drafts = serve(
        limit,
        workload,
        policy=policy,
        speculation=config,
        guess=lambda _, __, most: [998] * most,
    )
    assert with_drafts[0] == outputs
    assert [_shape(step) for step in with_drafts[1]] == [_shape(step) for step in steps]


def _shape(step: SchedulerOutput) -> object:
    items = [(i.request_id, i.token_ids, i.start, i.samples) for i in step.scheduled]
    return items, step.preempted, step.num_tokens, step.num_context_tokens


def test_a_thousand_requests_under_pressure_with_drafts() -> None:
    limit = EngineLimits(8, 48, 64, 24, 4)
    workload = a_thousand_requests()
    config = SpeculativeConfig(NGRAM, 5)
    outputs, steps = serve(limit, workload, speculation=config, guess=guesses(3, 0.8))
    check_tokens(limit, workload, outputs)
    assert sum(items[-1].cached_tokens for items in outputs.values()) > 500
    assert sum(len(each.preempted) for each in steps) > 100
    several = sum(len(each.new_token_ids) > 1 for items in outputs.values() for each in items)
    assert several > 1000
    assert len(steps) < 0.8 * len(serve(limit, workload)[1])


# One step at a time.


def scheduler_of(
    num_drafts: int = 4, seqs: int = 4, tokens: int = 16, blocks: int = 32, **fields: int
) -> Scheduler:
    config = SpeculativeConfig(NGRAM, num_drafts, **fields)  # type: ignore[arg-type]
    return Scheduler(EngineLimits(seqs, tokens, 64, blocks, 4), speculation=config)


def start(scheduler: Scheduler, *requests: Request) -> None:
    """Computes their prompts, and gives each the token 1."""
    for request in requests:
        scheduler.add(request)
    while any(not request.output_token_ids for request in requests):
        output = scheduler.schedule(0.0)
        scheduler.update(
            output, StepResult({item.request_id: 1 for item in output.scheduled if item.samples})
        )


def request(name: str = "a", prompt: int = 3, **fields: object) -> Request:
    sampling = SamplingParams(**{"max_tokens": 20, **fields})  # type: ignore[arg-type]
    return Request(name, [ord(name[0]), *range(1, prompt)], sampling, 0.0)


def test_no_more_drafts_than_tokens_to_come() -> None:
    scheduler = scheduler_of(8)
    start(scheduler, request("two", max_tokens=3), request("one", max_tokens=2))
    drafts = {item.request_id: item.max_drafts for item in scheduler.schedule(0.0).scheduled}
    assert drafts == {"two": 1, "one": 0}


def test_drafts_share_evenly_what_prompts_leave() -> None:
    scheduler = scheduler_of(8, seqs=8, tokens=12)
    start(scheduler, request("a"), request("b"))
    assert [i.max_drafts for i in scheduler.schedule(0.0).scheduled] == [5, 5]


def test_prompts_come_before_drafts() -> None:
    scheduler = scheduler_of(8, tokens=12)
    start(scheduler, request("a"))
    scheduler.add(request("long", prompt=40))
    output = scheduler.schedule(0.0)
    assert [(len(i.token_ids), i.max_drafts) for i in output.scheduled] == [(1, 0), (11, 0)]


def test_a_full_batch_has_no_drafts() -> None:
    scheduler = scheduler_of(2, tokens=32, disable_by_batch_size=2)
    start(scheduler, request("a"), request("b"))
    assert [i.max_drafts for i in scheduler.schedule(0.0).scheduled] == [2, 2]
    start(scheduler, request("c"))
    assert [i.max_drafts for i in scheduler.schedule(0.0).scheduled] == [0, 0, 0]


def test_drafts_take_free_blocks_only() -> None:
    scheduler = scheduler_of(8, tokens=32, blocks=16)
    start(scheduler, request("a", prompt=30), request("b", prompt=25))
    assert scheduler.pool.num_free == 1
    output = scheduler.schedule(0.0)
    assert not output.preempted
    # "a" takes the free one, "b" what is left of its last block.
    assert [i.max_drafts for i in output.scheduled] == [5, 2]
    scheduler.update(output, StepResult({"a": 2, "b": 2}))
    assert scheduler.pool.num_free == 1


def told(token: int) -> TokenLogprobs:
    return TokenLogprobs(token, -1.0, 1)


@pytest.mark.parametrize(
    ("fields", "expected", "reason"),
    [
        ({}, (5, 6, 7, 8), None),
        ({"stop_token_ids": frozenset({6})}, (5, 6), FinishReason.STOP),
        ({"stop_token_ids": frozenset({8})}, (5, 6, 7, 8), FinishReason.STOP),
        ({"stop_token_ids": frozenset({5, 7}), "min_tokens": 3}, (5, 6, 7), FinishReason.STOP),
        ({"max_tokens": 5}, (5, 6, 7, 8), FinishReason.LENGTH),
    ],
)
def test_accepted_drafts_end_where_a_request_does(
    fields: dict[str, object], expected: tuple[int, ...], reason: FinishReason | None
) -> None:
    scheduler = scheduler_of()
    start(scheduler, request(logprobs=0, **fields))
    output = scheduler.schedule(0.0)
    drafts = AcceptedDrafts((5, 6, 7), (told(5), told(6), told(7)))
    (made,) = scheduler.update(
        output, StepResult({"a": 8}, logprobs={"a": told(8)}, accepted={"a": drafts})
    )
    assert made.new_token_ids == expected
    assert [each.token_id for each in made.logprobs or ()] == list(expected)
    assert made.finish_reason is reason
    assert (scheduler.pool.num_used == 0) == (reason is not None)


def test_a_tenant_pays_for_tokens_that_came_out_only() -> None:
    scheduler = scheduler_of()
    start(scheduler, request())
    plain = scheduler_of()
    start(plain, request())
    output = scheduler.schedule(0.0)
    scheduler.update(output, StepResult({"a": 8}, accepted={"a": AcceptedDrafts((5, 6))}))
    for token in (5, 6, 8):
        plain.update(plain.schedule(0.0), StepResult({"a": token}))
    assert scheduler.counters[""] == plain.counters[""]


def test_the_mean_answer_is_told_in_tokens_and_in_steps() -> None:
    scheduler = scheduler_of()
    start(scheduler, request(max_tokens=4))
    scheduler.update(
        scheduler.schedule(0.0), StepResult({"a": 8}, accepted={"a": AcceptedDrafts((5, 6))})
    )
    assert not scheduler.has_unfinished()
    assert (scheduler.mean_output_tokens, scheduler.mean_output_steps) == (4, 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_speculative_tokens": 0}, "num_speculative_tokens must be 1 to 32, not 0"),
        ({"num_speculative_tokens": 33}, "num_speculative_tokens must be 1 to 32, not 33"),
        ({"prompt_lookup_min": 0}, "prompt_lookup_min must be 1 to 64"),
        ({"prompt_lookup_max": 65}, "prompt_lookup_max must be 1 to 64"),
        ({"prompt_lookup_min": 5}, "prompt_lookup_min 5 is more than prompt_lookup_max 4"),
        ({"disable_by_batch_size": 0}, "disable_by_batch_size must be at least 1"),
        ({"model": "x"}, "method ngram takes no model, but model is 'x'"),
        ({"method": SpeculativeMethod.DRAFT_MODEL}, "needs a model to draft with"),
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict[str, object], message: str) -> None:
    values = {"method": NGRAM, "num_speculative_tokens": 4, **fields}
    with pytest.raises(ValueError, match=message):
        SpeculativeConfig(**values)  # type: ignore[arg-type]


def test_limits_may_change_with_drafts_in_flight_and_abort_frees_all() -> None:
    scheduler = scheduler_of(8, tokens=32, blocks=20)
    start(scheduler, request("a", prompt=30), request("b", prompt=25))
    output = scheduler.schedule(0.0)
    assert scheduler.abort("a") is not None
    scheduler.update(
        output, StepResult({"a": 1, "b": 1}, accepted={"b": AcceptedDrafts((1, 1, 1))})
    )
    scheduler.set_limits(LiveLimits(1, 32, 16))
    assert scheduler.pool.num_used == -(-(25 + 1 + 4) // 4)
    scheduler.abort("b")
    assert scheduler.pool.num_used == 0

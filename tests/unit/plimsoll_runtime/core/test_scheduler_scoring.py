"""What the scheduler asks to be scored of a prompt, what history it hands out, and plain data."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import (
    FinishReason,
    Request,
    RequestOutput,
    SamplingParams,
    TokenLogprobs,
)
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import (
    PromptTargets,
    ScheduledRequest,
    SchedulerOutput,
    TokenHistory,
)
from plimsoll_runtime.core.step_result import StepResult


def scheduler(blocks: int = 8, tokens: int = 5, seqs: int = 4) -> Scheduler:
    return Scheduler(EngineLimits(seqs, tokens, 32, blocks, 4))


def request(name: str = "a", length: int = 7, **fields: object) -> Request:
    sampling = SamplingParams(**{"max_tokens": 3, **fields})  # type: ignore[arg-type]
    return Request(name, list(range(40, 40 + length)), sampling, 0.0)


def scored(item: ScheduledRequest) -> tuple[TokenLogprobs, ...]:
    """As a runner would: the token ids tell which are which."""
    targets = item.targets.token_ids if item.targets else []
    return tuple(TokenLogprobs(each, -float(each), 1) for each in targets)


def step(target: Scheduler, token: int = 7) -> tuple[SchedulerOutput, list[RequestOutput]]:
    output = target.schedule(0.0)
    sampled = {item.request_id: token for item in output.scheduled if item.samples}
    told = {each: TokenLogprobs(token, -1.0, 1) for each in sampled}
    scores = {item.request_id: scored(item) for item in output.scheduled if item.targets}
    return output, target.update(output, StepResult(sampled, logprobs=told, prompt_logprobs=scores))


def test_a_prompts_chunks_are_scored_as_they_are_computed() -> None:
    target = scheduler()
    target.add(request(prompt_logprobs=0, logprobs=0))
    first, made = step(target)
    assert first.scheduled[0].targets == PromptTargets(0, [41, 42, 43, 44, 45])
    assert [each.token_id for each in made[0].prompt_logprobs] == [41, 42, 43, 44, 45]
    assert (made[0].new_token_ids, made[0].finish_reason) == ((), None)
    second, made = step(target)
    assert second.scheduled[0].targets == PromptTargets(5, [46])
    assert [each.token_id for each in made[0].prompt_logprobs] == [46]
    assert made[0].logprobs == (TokenLogprobs(7, -1.0, 1),)
    third, made = step(target)
    assert third.scheduled[0].targets is None
    assert made[0].prompt_logprobs == ()


def test_nothing_is_told_that_was_not_asked() -> None:
    target = scheduler()
    target.add(request())
    first, made = step(target)
    assert first.scheduled[0].targets is None
    assert made == []


@pytest.mark.parametrize("length", [1, 4, 5, 6, 11])
@pytest.mark.parametrize("prompt_logprobs", [None, 1])
def test_with_max_tokens_0_the_prompt_is_computed_and_nothing_chosen(
    length: int, prompt_logprobs: int | None
) -> None:
    target = scheduler()
    target.add(request(length=length, max_tokens=0, prompt_logprobs=prompt_logprobs))
    told: list[int] = []
    while target.has_unfinished():
        output, made = step(target)
        assert not any(item.samples for item in output.scheduled)
        told += [each.token_id for out in made for each in out.prompt_logprobs]
    assert (made[-1].new_token_ids, made[-1].finish_reason) == ((), FinishReason.LENGTH)
    assert told == ([] if prompt_logprobs is None else list(range(41, 40 + length)))
    assert target.pool.num_used == 0


def test_what_is_cached_is_computed_again_for_its_logprobs() -> None:
    target = scheduler()
    target.add(request("first", max_tokens=1))
    while target.has_unfinished():
        step(target)
    target.add(request("second", prompt_logprobs=1))
    output, _ = step(target)
    assert output.scheduled[0].start == 0


@given(
    st.lists(
        st.tuples(st.integers(1, 20), st.sampled_from([None, 0, 2]), st.integers(0, 9)),
        min_size=1,
        max_size=6,
    ),
    st.integers(8, 14),
    st.integers(4, 12),
)
def test_every_prompt_token_is_scored_once_whatever_is_preempted(
    work: list[tuple[int, int | None, int]], blocks: int, tokens: int
) -> None:
    target = scheduler(blocks, tokens)
    for number, (length, count, max_tokens) in enumerate(work):
        target.add(request(str(number), length, prompt_logprobs=count, max_tokens=max_tokens))
    told: dict[str, list[int]] = {str(number): [] for number in range(len(work))}
    for _ in range(1000):
        if not target.has_unfinished():
            break
        for out in step(target)[1]:
            told[out.request_id] += [each.token_id for each in out.prompt_logprobs]
    assert not target.has_unfinished()
    for number, (length, count, _) in enumerate(work):
        assert told[str(number)] == ([] if count is None else list(range(41, 40 + length)))


def test_history_is_handed_out_where_it_matters_and_does_not_change_afterwards() -> None:
    target = scheduler(tokens=20)
    target.add(request("plain"))
    target.add(request("penalized", presence_penalty=1.0, max_tokens=9))
    first, _ = step(target)
    plain, penalized = first.scheduled
    assert plain.history is None
    assert penalized.history == TokenHistory(list(range(40, 47)), [])
    second, _ = step(target)
    assert second.scheduled[1].history == TokenHistory(list(range(40, 47)), [7])
    assert penalized.history == TokenHistory(list(range(40, 47)), [])


def test_all_of_it_is_plain_data() -> None:
    sampling = SamplingParams(
        max_tokens=3,
        seed=5,
        stop_token_ids=frozenset({1, 2}),
        logit_bias=((3, 1.5), (4, -100.0)),
        allowed_token_ids=(3, 4),
        bad_words=((1,), (2, 3)),
        grammar='{"grammars": []}',
        logprobs=2,
        prompt_logprobs=0,
    )
    target = scheduler()
    target.add(Request("a", [1, 2, 3], sampling, 0.0))
    output = target.schedule(0.0)
    told = TokenLogprobs(3, -0.5, 1, ((3, -0.5), (4, -0.75)))
    (made,) = target.update(
        output, StepResult({"a": 3}, logprobs={"a": told}, prompt_logprobs={"a": (told, told)})
    )
    for value, kind in (
        (sampling, SamplingParams),
        (output, SchedulerOutput),
        (made, RequestOutput),
    ):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind) == value
    assert made.logprobs == (told,)

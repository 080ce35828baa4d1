"""Which positions of a prompt are summed in which step, each once whatever is preempted."""

from array import array
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.pooling import PooledSpan, Pooling, pooled_span
from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import ScheduledRequest, SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult

LAST, FIRST, MEAN = Pooling.LAST, Pooling.FIRST, Pooling.MEAN
POOLINGS = st.sampled_from([LAST, FIRST, MEAN])


def scheduler(blocks: int = 8, tokens: int = 5, seqs: int = 4) -> Scheduler:
    return Scheduler(EngineLimits(seqs, tokens, 32, blocks, 4))


def request(pooling: Pooling | None, name: str = "a", length: int = 7) -> Request:
    sampling = SamplingParams(3 if pooling is None else 0, pooling=pooling)
    return Request(name, list(range(40, 40 + length)), sampling, 0.0)


def summed(item: ScheduledRequest) -> bytes:
    """As a runner would: the token ids are the hidden states, so a sum tells which they were."""
    if item.pooled is None:
        raise ValueError("nothing is wanted")
    begin, end = (each - item.start for each in item.pooled)
    return array("f", [sum(item.token_ids[begin:end])]).tobytes()


def step(target: Scheduler) -> tuple[SchedulerOutput, list[RequestOutput]]:
    output = target.schedule(0.0)
    sampled = {item.request_id: 7 for item in output.scheduled if item.samples}
    pooled = {item.request_id: summed(item) for item in output.scheduled if item.pooled}
    return output, target.update(output, StepResult(sampled, pooled=pooled))


def told(outputs: list[RequestOutput]) -> float:
    return sum(array("f", each.pooled)[0] for each in outputs if each.pooled)


def expected(pooling: Pooling, length: int) -> int:
    return {LAST: 39 + length, FIRST: 40, MEAN: sum(range(40, 40 + length))}[pooling]


@pytest.mark.parametrize(
    ("pooling", "spans"),
    [
        (LAST, [None, PooledSpan(6, 7)]),
        (FIRST, [PooledSpan(0, 1), None]),
        (MEAN, [PooledSpan(0, 5), PooledSpan(5, 7)]),
    ],
)
def test_positions_are_summed_in_the_chunk_that_computes_them(
    pooling: Pooling, spans: list[PooledSpan | None]
) -> None:
    target = scheduler()
    target.add(request(pooling))
    made: list[RequestOutput] = []
    for span in spans:
        output, outputs = step(target)
        assert output.scheduled[0].pooled == span
        assert not output.scheduled[0].samples
        made += outputs
    assert not target.has_unfinished()
    assert told(made) == expected(pooling, 7)
    assert [each.finish_reason for each in made if each.finish_reason] == [FinishReason.LENGTH]
    assert made[-1].finish_reason is FinishReason.LENGTH
    assert all(each.new_token_ids == () for each in made)
    assert target.pool.num_used == 0
    assert target.mean_output_tokens is None


@pytest.mark.parametrize(("pooling", "start"), [(LAST, 4), (FIRST, 0), (MEAN, 0)])
def test_what_is_cached_is_used_only_for_the_last_token(pooling: Pooling, start: int) -> None:
    target = scheduler()
    target.add(request(None, "first"))
    while target.has_unfinished():
        step(target)
    target.add(request(pooling, "second"))
    output, outputs = step(target)
    assert output.scheduled[0].start == start
    while target.has_unfinished():
        outputs += step(target)[1]
    assert told(outputs) == expected(pooling, 7)
    assert outputs[-1].cached_tokens == start


def test_a_prompt_may_be_as_long_as_the_context() -> None:
    target = scheduler()
    target.add(request(LAST, length=32))
    outputs: list[RequestOutput] = []
    while target.has_unfinished():
        outputs += step(target)[1]
    assert told(outputs) == expected(LAST, 32)
    with pytest.raises(ValueError, match="33 tokens; with max_model_len 32 at most 32"):
        target.add(request(LAST, length=33))
    with pytest.raises(ValueError, match="32 tokens; with max_model_len 32 at most 31"):
        target.add(request(None, length=32))


def test_a_request_for_a_vector_gets_no_tokens() -> None:
    sampling = SamplingParams(1, pooling=LAST)
    with pytest.raises(ValueError, match="with pooling max_tokens must be 0, not 1"):
        scheduler().add(Request("a", [1], sampling, 0.0))


def test_a_sum_that_is_missing_is_an_error() -> None:
    target = scheduler()
    target.add(request(MEAN))
    with pytest.raises(ValueError, match="no hidden states were summed for request 'a'"):
        target.update(target.schedule(0.0), StepResult())


def test_one_that_fails_ends_without_a_vector() -> None:
    target = scheduler()
    target.add(request(MEAN))
    (made,) = target.update(target.schedule(0.0), StepResult(errors={"a": "not finite"}))
    assert (made.finish_reason, made.error, made.pooled) == (FinishReason.ERROR, "not finite", b"")


@given(
    st.lists(
        st.tuples(st.integers(1, 20), st.none() | POOLINGS),
        min_size=1,
        max_size=6,
    ),
    st.integers(8, 14),
    st.integers(4, 12),
)
def test_every_position_counts_once_whatever_is_preempted(
    work: list[tuple[int, Pooling | None]], blocks: int, tokens: int
) -> None:
    target = scheduler(blocks, tokens)
    for number, (length, pooling) in enumerate(work):
        target.add(request(pooling, str(number), length))
    made: list[RequestOutput] = []
    for _ in range(1000):
        if not target.has_unfinished():
            break
        made += step(target)[1]
    assert not target.has_unfinished()
    for number, (length, pooling) in enumerate(work):
        mine = [each for each in made if each.request_id == str(number)]
        assert told(mine) == (0 if pooling is None else expected(pooling, length))
        assert mine[-1].finish_reason is FinishReason.LENGTH


def test_preempted_in_the_midst_it_is_not_summed_twice() -> None:
    target = scheduler(blocks=16, tokens=6)
    target.add(request(LAST, "stays", 20))
    target.add(request(MEAN, "a", 16))
    output, made = step(target)
    assert output.scheduled[1].pooled == PooledSpan(0, 3)
    target.set_limits(target.live_limits._replace(max_num_seqs=1))
    assert target.num_preemptions == 1
    while target.has_unfinished():
        made += step(target)[1]
    mine = [each for each in made if each.request_id == "a"]
    assert told(mine) == expected(MEAN, 16)
    assert mine[-1].num_preemptions == 1


@given(POOLINGS, st.integers(1, 12), st.data())
def test_chunks_of_any_size_cover_what_counts(
    pooling: Pooling, length: int, data: st.DataObject
) -> None:
    cuts = data.draw(st.sets(st.integers(1, length), max_size=4)) | {length}
    chunks = list(pairwise([0, *sorted(cuts)]))
    again = data.draw(st.integers(0, len(chunks)))  # preempted after so many chunks
    positions: list[int] = []
    for start, stop in [*chunks[:again], *chunks]:
        span = pooled_span(pooling, length, len(positions), start, stop)
        positions += range(*span) if span else ()
    everything = {LAST: [length - 1], FIRST: [0], MEAN: list(range(length))}
    assert positions == everything[pooling]


def test_all_of_it_is_plain_data() -> None:
    target = scheduler()
    target.add(request(MEAN))
    output, (made,) = step(target)
    for value, kind in ((output, SchedulerOutput), (made, RequestOutput)):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind) == value
    assert output.scheduled[0].sampling.pooling is MEAN

"""What one step of the scheduler does, case by case."""

import pytest

from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult


def scheduler(
    seqs: int = 4,
    tokens: int = 8,
    model_len: int = 32,
    blocks: int = 8,
    caching: bool = True,
    threshold: int | None = None,
) -> Scheduler:
    return Scheduler(EngineLimits(seqs, tokens, model_len, blocks, 4, caching, threshold))


def request(
    name: str, prompt: int = 3, max_tokens: int = 4, arrival: float = 0.0, priority: int = 0
) -> Request:
    sampling = SamplingParams(max_tokens=max_tokens, stop_token_ids=frozenset({99}), min_tokens=2)
    return Request(name, list(range(prompt)), sampling, arrival, priority)


def step(target: Scheduler, token: int = 7, now: float = 0.0) -> SchedulerOutput:
    output = target.schedule(now)
    target.update(
        output, StepResult({item.request_id: token for item in output.scheduled if item.samples})
    )
    return output


def dealt(output: SchedulerOutput) -> dict[str, int]:
    return {item.request_id: len(item.token_ids) for item in output.scheduled}


def test_nothing_to_do_is_an_empty_step() -> None:
    assert scheduler().schedule(0.0) == SchedulerOutput()


def test_a_prompt_is_computed_then_decoded_token_by_token() -> None:
    target = scheduler()
    target.add(request("a", prompt=3, max_tokens=2))
    first = target.schedule(5.0)
    (item,) = first.scheduled
    assert (item.token_ids, item.start, item.samples, item.output_index) == ([0, 1, 2], 0, True, 0)
    assert len(item.block_ids) == 1
    (out,) = target.update(first, StepResult({"a": 42}))
    assert out == RequestOutput("a", (42,), None, None, 5.0, 0)
    second = target.schedule(6.0)
    (item,) = second.scheduled
    assert (item.token_ids, item.start, item.samples, item.output_index) == ([42], 3, True, 1)
    (out,) = target.update(second, StepResult({"a": 43}))
    assert out == RequestOutput("a", (43,), FinishReason.LENGTH, None, 5.0, 0)
    assert not target.has_unfinished()
    assert target.pool.num_used == 0


def test_a_long_prompt_goes_in_chunks_beside_decodes() -> None:
    target = scheduler(tokens=8)
    target.add(request("short", prompt=2, max_tokens=9))
    target.add(request("long", prompt=14))
    assert dealt(step(target)) == {"short": 2, "long": 6}
    output = target.schedule(0.0)
    assert [(i.request_id, len(i.token_ids), i.samples) for i in output.scheduled] == [
        ("short", 1, True),
        ("long", 7, False),
    ]
    assert (output.num_tokens, output.num_context_tokens) == (8, 3 + 13)
    target.update(output, StepResult({"short": 1}))
    output = target.schedule(0.0)
    assert dealt(output) == {"short": 1, "long": 1}
    assert all(item.samples for item in output.scheduled)


def test_a_long_prompt_shares_the_step_with_one_that_comes_after_it() -> None:
    target = scheduler(tokens=8, blocks=16)
    target.add(request("long", prompt=30, max_tokens=1))
    assert dealt(step(target)) == {"long": 8}, "alone, it gets all"
    target.add(request("short", prompt=4, arrival=1.0))
    assert dealt(step(target)) == {"long": 4, "short": 4}
    assert dealt(step(target)) == {"short": 1, "long": 7}, "and what nobody else wants"


def test_the_share_of_a_long_prompt_can_be_set() -> None:
    target = scheduler(tokens=8, threshold=2, blocks=24)
    for name in ("a", "b", "c"):
        target.add(request(name, prompt=20))
    assert dealt(step(target)) == {"a": 4, "b": 2, "c": 2}


def test_one_long_prompt_never_starves_a_stream_of_short_ones() -> None:
    target = scheduler(seqs=2, tokens=8, model_len=600, blocks=200)
    target.add(request("long", prompt=500, max_tokens=1))
    for number in range(40):
        target.add(request(f"short{number}", prompt=4, max_tokens=1, arrival=1.0 + number))
        step(target)
    assert target.unfinished_ids() == ["long"]


def test_decodes_come_before_a_prompt_that_arrived_earlier() -> None:
    target = scheduler(seqs=2, tokens=4, blocks=16)
    target.add(request("decoding", prompt=1, max_tokens=20, arrival=2.0))
    step(target)
    target.add(request("long", prompt=20, arrival=1.0))
    for _ in range(5):
        assert dealt(step(target))["decoding"] == 1


def test_never_more_sequences_than_allowed() -> None:
    target = scheduler(seqs=2)
    for name in "abc":
        target.add(request(name, prompt=1))
    assert list(dealt(step(target))) == ["a", "b"]
    assert (target.num_running, target.num_waiting) == (2, 1)


def test_the_more_urgent_is_admitted_first() -> None:
    target = scheduler(seqs=1)
    target.add(request("later", arrival=2.0))
    target.add(request("earlier", arrival=1.0))
    target.add(request("urgent", arrival=3.0, priority=-1))
    assert list(dealt(step(target))) == ["urgent"]


def test_without_blocks_the_latest_is_preempted_and_resumes_with_its_output() -> None:
    target = scheduler(seqs=2, tokens=16, model_len=16, blocks=4, caching=False)
    target.add(request("first", prompt=4, max_tokens=12, arrival=0.0))
    target.add(request("second", prompt=4, max_tokens=9, arrival=1.0))
    preempted: list[str] = []
    resumed = None
    while target.has_unfinished():
        output = target.schedule(0.0)
        if preempted and resumed is None:
            resumed = next((i for i in output.scheduled if i.request_id == "second"), None)
        preempted += output.preempted
        target.update(
            output, StepResult({i.request_id: 50 + i.output_index for i in output.scheduled})
        )
    assert preempted == ["second"]
    assert target.num_preemptions == 1
    assert resumed is not None
    assert resumed.start == 0
    assert resumed.token_ids == [0, 1, 2, 3, 50, 51, 52, 53, 54]
    assert resumed.output_index == 5


def test_the_least_urgent_is_preempted_even_if_it_came_first() -> None:
    target = scheduler(seqs=2, tokens=16, model_len=16, blocks=4)
    target.add(request("lesser", prompt=4, max_tokens=12, arrival=0.0, priority=1))
    target.add(request("greater", prompt=4, max_tokens=12, arrival=1.0, priority=0))
    preempted: list[str] = []
    while target.has_unfinished():
        preempted += step(target).preempted
    assert set(preempted) == {"lesser"}


def test_admission_leaves_a_block_for_each_running_request() -> None:
    target = scheduler(seqs=4, tokens=32, blocks=8)
    target.add(request("big", prompt=20))  # 5 blocks
    target.add(request("next", prompt=9))  # 3 blocks would leave none
    assert list(dealt(target.schedule(0.0))) == ["big"]


def test_a_stop_token_ends_a_request_only_after_min_tokens() -> None:
    target = scheduler()
    target.add(request("a"))
    output = target.schedule(0.0)
    assert target.update(output, StepResult({"a": 99}))[0].finish_reason is None
    output = target.schedule(0.0)
    (out,) = target.update(output, StepResult({"a": 99}))
    assert (out.new_token_ids, out.finish_reason) == ((99,), FinishReason.STOP)


def test_the_longest_sequence_ends_at_max_model_len() -> None:
    target = scheduler(model_len=6)
    target.add(request("a", prompt=3, max_tokens=100))
    reasons = []
    while target.has_unfinished():
        output = target.schedule(0.0)
        reasons += [o.finish_reason for o in target.update(output, StepResult({"a": 1}))]
    assert reasons == [None, None, FinishReason.LENGTH]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (request("a", prompt=0), "has no tokens"),
        (request("a", prompt=32), "32 tokens; with max_model_len 32 at most 31"),
        (request("a", max_tokens=-1), "max_tokens must be at least 0"),
    ],
)
def test_what_can_never_be_served_is_refused_at_once(bad: Request, message: str) -> None:
    target = scheduler()
    with pytest.raises(ValueError, match=message):
        target.add(bad)
    assert not target.has_unfinished()


def test_an_id_in_use_is_refused() -> None:
    target = scheduler()
    target.add(request("a"))
    with pytest.raises(ValueError, match="'a' is in use"):
        target.add(request("a"))


def test_abort_frees_at_once_and_a_late_token_is_dropped() -> None:
    target = scheduler()
    target.add(request("running"))
    output = target.schedule(1.0)
    target.add(request("waiting", arrival=1.0))
    for name, scheduled_at in (("running", 1.0), ("waiting", None)):
        assert target.abort(name) == RequestOutput(name, (), FinishReason.ABORT, None, scheduled_at)
        assert target.abort(name) is None
    assert target.pool.num_used == 0
    assert target.update(output, StepResult({"running": 5})) == []
    assert target.unfinished_ids() == []


def test_one_requests_error_ends_it_alone() -> None:
    target = scheduler()
    target.add(request("bad"))
    target.add(request("good"))
    output = target.schedule(0.0)
    bad, good = target.update(output, StepResult({"good": 5}, errors={"bad": "not finite"}))
    assert (bad.finish_reason, bad.error) == (FinishReason.ERROR, "not finite")
    assert good.new_token_ids == (5,)
    assert target.unfinished_ids() == ["good"]
    failed = target.fail("good", "broken")
    assert failed is not None
    assert failed.error == "broken"


def test_a_missing_token_is_a_programming_error() -> None:
    target = scheduler()
    target.add(request("a"))
    with pytest.raises(ValueError, match="no token was sampled for request 'a'"):
        target.update(target.schedule(0.0), StepResult())


def test_a_step_is_a_snapshot() -> None:
    target = scheduler()
    target.add(request("a"))
    output = target.schedule(0.0)
    before = output.scheduled[0].block_ids.copy()
    target.abort("a")
    assert output.scheduled[0].block_ids == before

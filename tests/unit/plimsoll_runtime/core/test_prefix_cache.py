"""What one request computed, others need not compute again: case by case, through the scheduler."""

import pytest

from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.prefix import DIGEST_BYTES, hash_block
from plimsoll_runtime.core.request import Request, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import ScheduledRequest, SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult

SIZE = 4
PROMPT = list(range(100, 110))  # two full blocks and a half


def scheduler(
    blocks: int = 32, tokens: int = 64, seqs: int = 4, model_len: int = 64, caching: bool = True
) -> Scheduler:
    limits = EngineLimits(seqs, tokens, model_len, blocks, SIZE, caching)
    return Scheduler(limits, policy=SchedulingPolicy.PRIORITY)


def request(
    name: str, prompt: list[int] = PROMPT, max_tokens: int = 1, salt: str = "", arrival: float = 0.0
) -> Request:
    return Request(name, prompt, SamplingParams(max_tokens), arrival, cache_salt=salt)


def step(target: Scheduler) -> SchedulerOutput:
    """One step of a model whose n-th token is always 50 + n."""
    output = target.schedule(0.0)
    samples = {i.request_id: 50 + i.output_index for i in output.scheduled if i.samples}
    target.update(output, StepResult(samples))
    return output


def serve(target: Scheduler, *requests: Request) -> dict[str, ScheduledRequest]:
    """Serves these to their end; what each got in its first step."""
    first: dict[str, ScheduledRequest] = {}
    for each in requests:
        target.add(each)
    while target.has_unfinished():
        for item in step(target).scheduled:
            first.setdefault(item.request_id, item)
    assert target.pool.num_used == 0
    return first


def start_of(target: Scheduler, item: Request) -> int:
    """How many tokens of a request are found when it is served now."""
    begun = serve(target, item)[item.request_id].start
    assert begun == item.num_cached_tokens
    return begun


def test_a_second_request_computes_only_what_is_new() -> None:
    target = scheduler()
    assert start_of(target, request("first")) == 0
    second = serve(target, request("second", [*PROMPT[:8], 7, 8]))["second"]
    assert (second.start, second.token_ids, second.samples) == (8, [7, 8], True)
    assert (target.prefixes.num_queries, target.prefixes.num_hits) == (20, 8)


def test_the_last_token_is_always_computed() -> None:
    target = scheduler()
    serve(target, request("first", PROMPT[:8]))
    again = serve(target, request("again", PROMPT[:8]))["again"]
    assert (again.start, again.token_ids) == (4, PROMPT[4:8])


def test_a_next_turn_finds_the_answer_as_well() -> None:
    target = scheduler()
    serve(target, request("turn", max_tokens=7))  # 10 + 7 tokens; the last one is never computed
    answer = [50 + n for n in range(7)]
    assert start_of(target, request("next", [*PROMPT, *answer, 1])) == 16


def test_the_last_token_of_an_answer_was_not_computed_so_its_block_is_not_found() -> None:
    target = scheduler()
    serve(target, request("turn", max_tokens=6))  # 16 tokens known, 15 computed
    answer = [50 + n for n in range(6)]
    assert start_of(target, request("next", [*PROMPT, *answer, 1])) == 12


def test_different_tokens_anywhere_before_are_a_different_prefix() -> None:
    target = scheduler()
    serve(target, request("first", list(range(20))))
    assert start_of(target, request("late", [*range(8), 99, *range(9, 20)])) == 8
    assert start_of(target, request("early", [99, *range(1, 20)])) == 0
    assert start_of(target, request("moved", [*range(4, 20), 1])) == 0


def test_different_salts_never_share() -> None:
    target = scheduler()
    for salt in ("", "a", "b"):
        assert start_of(target, request(f"first{salt}", salt=salt)) == 0
        assert start_of(target, request(f"second{salt}", salt=salt)) == 8


def test_a_salt_that_is_anothers_hash_finds_nothing() -> None:
    """Then the first block of one has the hash and the tokens of another's second one."""

    def readable(before: bytes, tokens: bytes) -> bytes:
        return hash_block(before, tokens).hex().encode()

    target = Scheduler(EngineLimits(4, 64, 64, 32, SIZE), readable)
    victim = request("victim")
    serve(target, victim)
    forged = request("forged", PROMPT[4:], salt=victim.block_keys[0].digest.decode())
    assert start_of(target, forged) == 0
    assert forged.block_keys[0] == victim.block_keys[1]


def test_blocks_are_shared_while_their_owner_runs() -> None:
    target = scheduler()
    target.add(request("a", max_tokens=5))
    step(target)
    target.add(request("b", [*PROMPT[:8], 1, 2], max_tokens=5, arrival=1.0))
    first, second = step(target).scheduled
    assert second.start == 8
    assert first.block_ids[:2] == second.block_ids[:2]
    assert not set(first.block_ids[2:]) & set(second.block_ids[2:])
    assert [target.pool.references(b) for b in second.block_ids] == [2, 2, 1]
    assert target.pool.num_used == 4
    target.abort("a")
    assert [target.pool.references(b) for b in second.block_ids] == [1, 1, 1]


def test_a_prompt_is_found_only_as_far_as_it_has_been_computed() -> None:
    target = scheduler(tokens=8)
    target.add(request("long", list(range(30))))
    output = target.schedule(0.0)
    assert len(output.scheduled[0].token_ids) == 8
    waiting = request("same", list(range(30)), arrival=1.0)
    assert target.prefixes.lookup(waiting) == []
    target.update(output, StepResult())
    assert len(target.prefixes.lookup(waiting)) == 2


def test_the_same_prompts_in_one_step_end_up_with_one_copy() -> None:
    target = scheduler()
    for name in "abc":
        target.add(request(name, max_tokens=9))
    output = step(target)
    assert [item.start for item in output.scheduled] == [0, 0, 0]
    assert target.pool.num_used == 2 + 3
    tables = [item.block_ids for item in step(target).scheduled]
    assert tables[0][:2] == tables[1][:2] == tables[2][:2]
    assert len({table[2] for table in tables}) == 3


def test_a_preempted_request_finds_its_own_blocks() -> None:
    target = scheduler(seqs=2, tokens=16, model_len=24, blocks=8)
    target.add(request("first", [1] * 8, max_tokens=12))
    target.add(request("second", [2] * 8, max_tokens=12, arrival=1.0))
    resumed = []
    preempted = False
    while target.has_unfinished():
        output = step(target)
        if preempted:
            resumed += [i for i in output.scheduled if i.request_id == "second"][:1]
        preempted |= "second" in output.preempted
    assert preempted
    assert resumed[0].start >= 8, "at least its prompt is still there"
    assert resumed[0].output_index > 0
    assert target.prefixes.num_queries == 16, "resuming is no new query"


def test_a_preempted_request_whose_blocks_are_gone_starts_over() -> None:
    target = scheduler(seqs=2, tokens=32, model_len=32, blocks=8)
    target.add(request("first", [1] * 8, max_tokens=20))
    second = request("second", [2] * 8, max_tokens=12, arrival=1.0)
    target.add(second)
    while "second" not in step(target).preempted:
        pass
    target.abort("first")
    target.add(Request("urgent", [3] * 31, SamplingParams(1), 2.0, priority=-1))
    assert [item.request_id for item in step(target).scheduled] == ["urgent"]
    assert target.prefixes.lookup(second) == []
    assert serve(target)["second"].start == 0
    assert start_of(target, request("after", [*[2] * 8, *range(50, 60)])) == 16


def test_found_blocks_count_for_admission_only_if_they_were_free() -> None:
    target = scheduler(blocks=6, model_len=24)
    target.add(request("a", list(range(14)), max_tokens=2))  # 4 blocks, 3 of them full
    step(target)
    target.add(request("b", [*range(12), 77], max_tokens=1, arrival=1.0))
    assert target.pool.num_free == 2
    assert len(step(target).scheduled) == 2, "b needs one block, not four"

    serve(target)
    fresh = list(range(500, 520))  # 5 blocks
    assert start_of(target, request("c", fresh)) == 0
    target.add(request("d", [9] * 5, max_tokens=4, arrival=2.0))  # 2 of 6 blocks
    step(target)
    target.add(request("e", [*fresh[:12], 1], arrival=3.0))
    # 3 found but free, and 1 new, would leave d without a spare one.
    assert [item.request_id for item in step(target).scheduled] == ["d"]


def test_what_is_in_use_is_evicted_last_and_tails_go_first() -> None:
    target = scheduler(blocks=8, model_len=32)
    serve(target, request("old", [1] * 13))  # 3 full blocks kept
    serve(target, request("new", [2] * 13))  # 3 more
    serve(target, request("other", [3] * 13))  # 4 blocks: 2 blank ones, and 2 tails of "old"
    assert start_of(target, request("new again", [2] * 13)) == 12
    assert start_of(target, request("old again", [1] * 13)) == 4


@pytest.mark.parametrize("state", ["waiting", "prefilling", "decoding", "preempted", "in flight"])
def test_abort_in_any_state_gives_everything_back(state: str) -> None:
    target = scheduler(seqs=2, tokens=8, model_len=24, blocks=8)
    target.add(request("keeps", [1] * 8, max_tokens=12))
    if state != "waiting":
        target.add(request("goes", [2] * 10, max_tokens=12, arrival=1.0))
    output = step(target)
    if state == "decoding":
        while not any(i.request_id == "goes" and i.output_index for i in output.scheduled):
            output = step(target)
    elif state == "preempted":
        while "goes" not in output.preempted:
            output = step(target)
    elif state == "waiting":
        target.add(request("goes", [2] * 10, arrival=1.0))
    elif state == "in flight":
        output = target.schedule(0.0)
    assert target.abort("goes") is not None
    if state == "in flight":
        target.update(output, StepResult({i.request_id: 5 for i in output.scheduled if i.samples}))
    serve(target)
    assert target.pool.num_used == 0
    assert start_of(target, request("after", [1] * 9)) == 8


def test_what_a_failed_request_computed_or_found_is_not_found_again() -> None:
    target = scheduler()
    serve(target, request("fine"))
    target.add(request("bad", max_tokens=20))
    step(target)
    failure = {"bad": "the model's logits are not finite"}
    target.update(target.schedule(0.0), StepResult(errors=failure))
    assert target.pool.num_used == 0
    assert start_of(target, request("same prompt")) == 0


def test_switched_off_nothing_is_found_or_counted() -> None:
    target = scheduler(caching=False)
    for name in ("first", "second"):
        assert start_of(target, request(name)) == 0
    assert (target.prefixes.num_queries, target.prefixes.num_hits) == (0, 0)


def test_the_hash_depends_on_everything_before() -> None:
    digests = {hash_block(before, tokens) for before in (b"", b"a") for tokens in (b"x", b"y")}
    assert len(digests) == 4
    assert all(len(digest) == DIGEST_BYTES for digest in digests)

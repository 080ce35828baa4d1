"""Drafts behind a step's tokens: what the model is asked, and which of them are right."""

from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.core.step import ScheduledRequest, SchedulerOutput, TokenHistory
from plimsoll_runtime.engine.drafts import Drafter, num_accepted, rows_of
from plimsoll_runtime.engine.runner import plan_step

SAMPLING = SamplingParams(max_tokens=99)
PLAIN = ScheduledRequest("plain", [8], 5, [0, 1], True, 3, SAMPLING)
DRAFTED = ScheduledRequest(
    "drafted", [4], 2, [2, 3], True, 1, SAMPLING, TokenHistory([1, 2], [4]), max_drafts=3
)
PROMPT = ScheduledRequest("prompt", [5, 6, 7], 0, [4], False, 0, SAMPLING)
STEP = SchedulerOutput([PLAIN, DRAFTED, PROMPT], [], 5, 12, 3)


class Says:
    def __init__(self, **drafts: list[int]) -> None:
        self._drafts = drafts

    def propose(self, output: SchedulerOutput) -> dict[str, list[int]]:
        return self._drafts


def everything(_: ScheduledRequest, drafts: list[int]) -> int:
    return len(drafts)


def test_a_step_has_its_drafts_behind_its_tokens() -> None:
    step = Drafter(Says(drafted=[9, 8]), everything).extend(STEP)
    plain, drafted, prompt = step.scheduled
    assert (plain, prompt) == (PLAIN, PROMPT)
    assert (drafted.token_ids, drafted.num_drafts) == ([4, 9, 8], 2)
    assert (step.num_tokens, step.num_context_tokens) == (7, 14)
    planned = plan_step(step)
    assert planned.token_ids == [8, 4, 9, 8, 5, 6, 7]
    assert [span.query_len for span in planned.spans] == [1, 3, 3]
    assert planned.sample_rows == [0, 1, 2, 3]


def test_no_more_than_may_be_and_none_that_is_impossible() -> None:
    too_many = Drafter(Says(drafted=[9] * 5, plain=[1]), everything).extend(STEP)
    assert [item.num_drafts for item in too_many.scheduled] == [0, 3, 0]
    cut = Drafter(Says(drafted=[9, 8, 7]), lambda *_: 1).extend(STEP)
    assert cut.scheduled[1].token_ids == [4, 9]
    none = Drafter(Says(drafted=[9, 8, 7]), lambda *_: 0).extend(STEP)
    assert (none.scheduled, none.num_tokens) == (STEP.scheduled, STEP.num_tokens)
    assert Drafter(Says(), everything).extend(STEP) is STEP


def test_each_row_knows_the_drafts_before_it() -> None:
    (_, drafted, _) = Drafter(Says(drafted=[9, 8]), everything).extend(STEP).scheduled
    rows = rows_of(drafted)
    assert [row.token_ids for row in rows] == [[4], [4, 9], [4, 9, 8]]
    assert [row.num_drafts for row in rows] == [0, 1, 2]
    assert [row.output_index for row in rows] == [1, 2, 3]
    outputs = [row.history.output_token_ids for row in rows if row.history]
    assert outputs == [[4], [4, 9], [4, 9, 8]]
    assert rows_of(PLAIN) == [PLAIN]


tokens = st.integers(0, 2)


@given(st.lists(st.tuples(tokens, st.none() | tokens), max_size=6), st.none() | tokens)
def test_those_are_right_that_the_model_chose_before_any_fault(
    pairs: list[tuple[int, int | None]], last: int | None
) -> None:
    drafts = [draft for draft, _ in pairs]
    chosen = [*(own for _, own in pairs), last]
    count = num_accepted(drafts, chosen)
    assert drafts[:count] == chosen[:count]
    if chosen[0] is not None:
        # What comes out are these and one token more, which is there.
        assert None not in chosen[: count + 1]
    if count < len(drafts):
        assert drafts[count] != chosen[count] or chosen[count + 1] is None

from collections.abc import Sequence as Items
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.core.request import FinishReason
from plimsoll_runtime.server.sequence import Delta, Sequence, TextOptions
from plimsoll_runtime.server.tokenizer import Tokenizer


def run(
    tokenizer: Tokenizer,
    groups: Items[Items[int]],
    options: TextOptions,
    reason: FinishReason = FinishReason.LENGTH,
) -> tuple[str, list[int], Delta]:
    sequence = Sequence(0, tokenizer, options)
    text, ids = "", []
    for number, group in enumerate(groups):
        delta = sequence.push(group, reason if number == len(groups) - 1 else None)
        text += delta.text
        ids += delta.token_ids
        if delta.finish_reason is not None:
            break
    assert sequence.num_tokens == len(ids)
    return text, ids, delta


@given(
    ids=st.lists(st.integers(0, 2047), min_size=1, max_size=60),
    cuts=st.sets(st.integers(1, 59)),
    stops=st.lists(st.text("aeio t", min_size=1, max_size=2), max_size=3),
)
def test_grouping_does_not_change_the_answer(
    tokenizer: Tokenizer, ids: list[int], cuts: set[int], stops: list[str]
) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(ids)), len(ids)]
    groups = [ids[start:end] for start, end in pairwise(edges)]
    options = TextOptions(stop=tuple(stops))
    assert run(tokenizer, groups, options)[:2] == run(tokenizer, [ids], options)[:2]
    text, taken, delta = run(tokenizer, [[each] for each in ids], options)
    assert (text, taken) == run(tokenizer, [ids], options)[:2]
    whole = tokenizer.decode(ids)
    assert whole.startswith(text)
    if delta.finish_reason is FinishReason.STOP:
        assert isinstance(delta.stop_reason, str)
        assert whole[len(text) :].startswith(delta.stop_reason)
    else:
        assert text == whole
        assert not any(stop in whole for stop in stops)


def test_the_token_that_stops_counts_but_has_no_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("one two", add_special_tokens=False)
    options = TextOptions(stop_token_ids=frozenset({ids[-1]}))
    text, taken, delta = run(tokenizer, [ids], options, FinishReason.STOP)
    assert text == tokenizer.decode(ids[:-1])
    assert taken == ids
    assert (delta.finish_reason, delta.stop_reason) == (FinishReason.STOP, ids[-1])


def test_end_of_sequence_has_no_stop_reason(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode("one", add_special_tokens=False), 5]
    assert run(tokenizer, [ids], TextOptions(), FinishReason.STOP)[2].stop_reason is None


@pytest.mark.parametrize(("minimum", "text"), [(0, "x"), (3, "x one")])
def test_stop_strings_wait_for_min_tokens(tokenizer: Tokenizer, minimum: int, text: str) -> None:
    ids = [tokenizer.encode(each, add_special_tokens=False)[0] for each in ("x", " one")]
    ids += tokenizer.encode(" one", add_special_tokens=False)
    options = TextOptions(stop=(" one",), min_tokens=minimum)
    got, _, _ = run(tokenizer, [[each] for each in ids], options)
    assert got.startswith(text)
    assert (got == "x") == (minimum == 0)


def test_what_was_held_back_comes_when_the_sequence_ends(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a <|en", add_special_tokens=False)
    text, _, delta = run(tokenizer, [[each] for each in ids], TextOptions(stop=("<|end|>",)))
    assert text == "a <|en"
    assert delta.finish_reason is FinishReason.LENGTH

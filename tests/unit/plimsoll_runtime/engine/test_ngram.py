"""What prompt lookup guesses is what looking through all tokens finds."""

from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.core.speculation import SpeculativeConfig, SpeculativeMethod
from plimsoll_runtime.core.step import ScheduledRequest, SchedulerOutput, TokenHistory
from plimsoll_runtime.engine import ngram
from plimsoll_runtime.engine.ngram import NgramIndex, NgramProposer

CONFIG = SpeculativeConfig(SpeculativeMethod.NGRAM, 4, prompt_lookup_max=3, prompt_lookup_min=1)
ANY = 10**9

texts = st.lists(st.integers(0, 3), max_size=40)


def rescan(tokens: list[int], shortest: int, longest: int, count: int) -> list[int]:
    """The same, token by token, from the definition."""
    for length in range(longest, shortest - 1, -1):
        tail = tokens[len(tokens) - length :]
        for end in range(len(tokens) - 1, length - 1, -1):
            if length < len(tokens) and tokens[end - length : end] == tail:
                goes_on = tokens.copy()
                for _ in range(count):
                    goes_on.append(goes_on[end + len(goes_on) - len(tokens)])
                return goes_on[len(tokens) :]
    return []


@given(
    prompt=texts,
    output=texts,
    cuts=st.lists(st.integers(1, 6), max_size=20),
    bounds=st.tuples(st.integers(1, 4), st.integers(1, 4)).map(sorted),
    count=st.integers(1, 9),
)
@settings(max_examples=200)
def test_it_finds_what_a_rescan_finds(
    prompt: list[int], output: list[int], cuts: list[int], bounds: list[int], count: int
) -> None:
    shortest, longest = bounds
    index = NgramIndex(prompt, shortest, longest)
    known, rest = prompt.copy(), iter(output)
    for cut in [*cuts, len(output)]:
        new = list(islice(rest, cut))
        index.take(new)
        known += new
        index.index(ANY)
        assert index.guess(count) == rescan(known, shortest, longest, count)
    assert index.num_taken == len(output)


@given(texts, st.integers(1, 7))
def test_indexing_in_parts_is_indexing(prompt: list[int], part: int) -> None:
    whole, parts = NgramIndex(prompt, 1, 3), NgramIndex(prompt, 1, 3)
    assert whole.index(ANY) == max(0, len(prompt) - 1)
    counts = []
    while counts[-1:] != [0]:
        parts.guess(4)
        counts.append(parts.index(part))
    assert max(counts) <= part
    assert sum(counts) == max(0, len(prompt) - 1)
    assert parts.guess(5) == whole.guess(5)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([1, 2, 3, 9, 8, 1, 2, 3], [9, 8, 1, 2, 3, 9]),  # round and round
        ([7, 7, 7], [7, 7, 7, 7, 7, 7]),
        ([1, 2, 5, 1, 2, 6, 1, 2], [6, 1, 2, 6, 1, 2]),  # the latest
        ([4, 1, 2, 5, 6, 1, 2, 8, 4, 1, 2], [5, 6, 1, 2, 8, 4]),  # the longest before the latest
        ([1, 2, 3], []),
        ([1], []),
        ([], []),
    ],
)
def test_examples(tokens: list[int], expected: list[int]) -> None:
    index = NgramIndex(tokens, 2, 4)
    index.index(ANY)
    assert index.guess(6) == expected


def item(
    name: str, prompt: list[int], output: list[int], max_drafts: int = 4, *, samples: bool = True
) -> ScheduledRequest:
    sampling = SamplingParams(max_tokens=99)
    history = TokenHistory(prompt, output) if max_drafts else None
    return ScheduledRequest(
        name, [0], 0, [0], samples, len(output), sampling, history, max_drafts=max_drafts
    )


def propose(proposer: NgramProposer, *items: ScheduledRequest) -> dict[str, list[int]]:
    return proposer.propose(SchedulerOutput(list(items)))


def test_only_those_that_may_have_drafts_get_them_and_no_more_than_they_may() -> None:
    guesses = propose(
        NgramProposer(CONFIG),
        item("a", [1, 2, 3, 4, 5, 1], [2], 2),
        item("b", [1, 2, 1], [2], 0),
        item("c", [1, 2, 3], [9]),
    )
    assert guesses == {"a": [3, 4], "c": []}


def test_an_id_that_is_used_again_starts_anew() -> None:
    proposer = NgramProposer(CONFIG)
    assert propose(proposer, item("a", [5, 6, 5], [6])) == {"a": [5, 6, 5, 6]}
    # The new one's first token comes from its prompt, without drafts.
    propose(proposer, item("a", [1, 2, 1], [], 0))
    assert propose(proposer, item("a", [1, 2, 1], [2])) == {"a": [1, 2, 1, 2]}


def test_what_is_not_served_is_forgotten_and_made_again() -> None:
    proposer = NgramProposer(CONFIG)
    propose(proposer, item("a", [5, 6, 7], [5]))
    propose(proposer)
    assert propose(proposer, item("a", [5, 6, 7], [5, 8, 5])) == {"a": [8, 5, 8, 5]}


def test_steps_without_drafts_are_caught_up_with() -> None:
    proposer = NgramProposer(CONFIG)
    propose(proposer, item("a", [5, 6, 7], [9]))
    propose(proposer, item("a", [5, 6, 7], [9, 5], 0))
    assert propose(proposer, item("a", [5, 6, 7], [9, 5, 6, 8, 5, 6]))["a"] == [8, 5, 6, 8]


def test_wrong_guesses_are_followed_by_fewer() -> None:
    proposer = NgramProposer(CONFIG)
    assert propose(proposer, item("a", [5, 6, 7], [5])) == {"a": [6, 7, 5, 6]}
    assert propose(proposer, item("a", [5, 6, 7], [5, 6, 5])) == {"a": [6, 5]}
    assert propose(proposer, item("a", [5, 6, 7], [5, 6, 5, 5])) == {"a": [5]}


def test_a_long_prompt_is_indexed_over_several_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram, "MAX_INDEXED", 10)
    proposer = NgramProposer(replace(CONFIG, prompt_lookup_min=2))
    prompt = [*range(25), 100, 101, 102, 103]
    first, second = item("a", prompt, [20, 21]), item("b", prompt, [20, 21])
    seen = [propose(proposer, first, second) for _ in range(7)]
    assert [bool(each["a"]) for each in seen] == [False] * 2 + [True] * 5
    assert [bool(each["b"]) for each in seen] == [False] * 5 + [True] * 2
    assert seen[-1] == {"a": [22, 23, 24, 100], "b": [22, 23, 24, 100]}

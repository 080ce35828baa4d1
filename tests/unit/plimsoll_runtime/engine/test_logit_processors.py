"""What requests change in their logits: each like transformers, in order, and only their own."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
)

from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.core.step import ScheduledRequest, TokenHistory
from plimsoll_runtime.engine.choice import NOT_FINITE, TokenChooser
from plimsoll_runtime.engine.processors import NOTHING_LEFT, LogitProcessors

VOCAB = 40
OUT = float("-inf")


def logits(rows: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * 3


def item(
    sampling: SamplingParams,
    prompt: Sequence[int] = (1, 2, 3),
    output: Sequence[int] = (),
    request_id: str = "a",
) -> ScheduledRequest:
    history = TokenHistory(list(prompt), list(output)) if sampling.needs_history else None
    return ScheduledRequest(request_id, [0], 0, [0], True, len(output), sampling, history)


def params(**fields: object) -> SamplingParams:
    return SamplingParams(**{"max_tokens": 99, "temperature": 0.0, **fields})  # type: ignore[arg-type]


def apply(values: Tensor, *items: ScheduledRequest) -> tuple[Tensor, dict[int, str]]:
    return LogitProcessors().apply(values, items)


def test_nothing_wanted_costs_nothing() -> None:
    values = logits(3)
    plain = params(stop_token_ids=frozenset({5}), logprobs=3, prompt_logprobs=1)
    changed, errors = apply(values, *[item(plain, request_id=str(i)) for i in range(3)])
    assert changed is values
    assert not errors


def test_bad_words_are_transformers() -> None:
    words = ((4,), (9, 5), (7, 8, 6), (9, 9, 9, 9, 9, 9, 9))
    for output in ([], [9], [7, 8], [8], [3, 7, 8], [9, 9, 9, 9, 9, 9]):
        values = logits()
        # transformers looks at the prompt too, which says nothing here.
        oracle = NoBadWordsLogitsProcessor([list(word) for word in words], eos_token_id=[0])
        expected = oracle(torch.tensor([[1, 2, 3, *output]]), values.clone())
        changed, _ = apply(values, item(params(bad_words=words), output=output))
        assert torch.equal(changed, expected), output


def test_bad_words_are_of_the_answer_alone() -> None:
    bad = params(bad_words=((3, 5),))
    assert apply(logits(), item(bad, prompt=[1, 2, 3]))[0][0, 5] > OUT
    assert apply(logits(), item(bad, output=[3]))[0][0, 5] == OUT


def test_bias_is_added() -> None:
    bias = ((3, 2.5), (7, -100.0))
    values = logits()
    oracle = SequenceBiasLogitsProcessor({(3,): 2.5, (7,): -100.0})
    expected = oracle(torch.tensor([[1]]), values.clone())
    assert torch.equal(apply(values, item(params(logit_bias=bias)))[0], expected)


def test_only_allowed_tokens_are_left() -> None:
    changed, _ = apply(logits(2), item(params(allowed_token_ids=(3, 9))), item(params()))
    assert changed[0].isfinite().nonzero().flatten().tolist() == [3, 9]
    assert torch.equal(changed[1], logits(2)[1])
    assert torch.equal(changed[0, [3, 9]], logits(2)[0, [3, 9]])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_stop_tokens_wait_for_min_tokens(temperature: float) -> None:
    values = torch.zeros(1, VOCAB)
    values[0, 3] = 50.0
    waits = params(
        temperature=temperature, min_tokens=3, stop_token_ids=frozenset({3, 10**6}), seed=1
    )
    tokens = []
    for index in range(4):
        made = TokenChooser().choose(values, [item(waits, output=[0] * index)])
        tokens.append(made.sampled["a"])
    assert 3 not in tokens[:2]
    assert tokens[2:] == [3, 3]
    assert values[0, 3] == 50.0


def test_all_together_are_transformers_in_our_order() -> None:
    prompt, output = [1, 2, 3, 2], [5, 6, 5]
    sampling = params(
        bad_words=((6,), (5, 9)),
        min_tokens=10,
        stop_token_ids=frozenset({0}),
        logit_bias=((5, 1.5), (2, -3.0)),
        repetition_penalty=1.4,
    )
    oracle = LogitsProcessorList(
        [
            NoBadWordsLogitsProcessor([[6], [5, 9]], eos_token_id=[0]),
            MinNewTokensLengthLogitsProcessor(len(prompt), 10, 0),
            SequenceBiasLogitsProcessor({(5,): 1.5, (2,): -3.0}),
            RepetitionPenaltyLogitsProcessor(1.4),
        ]
    )
    values = logits(seed=3)
    expected = oracle(torch.tensor([prompt + output]), values.clone())
    assert torch.equal(apply(values, item(sampling, prompt, output))[0], expected)


def test_a_request_that_leaves_itself_no_token_is_refused_alone() -> None:
    impossible = [
        params(allowed_token_ids=(3,), bad_words=((3,),)),
        params(allowed_token_ids=(3,), min_tokens=5, stop_token_ids=frozenset({3})),
    ]
    values = logits(4)
    items = [
        item(params(), request_id="good"),
        *(item(each, request_id=f"bad{i}") for i, each in enumerate(impossible)),
        item(params(presence_penalty=1.0), output=[3], request_id="also good"),
    ]
    made = TokenChooser().choose(values, items)
    assert made.refused == {"bad0": NOTHING_LEFT, "bad1": NOTHING_LEFT}
    assert not made.errors
    assert made.sampled["good"] == int(values[0].argmax())
    assert set(made.sampled) == {"good", "also good"}


def test_logits_that_are_not_finite_are_an_error_and_not_the_requests_fault() -> None:
    values = logits(2)
    values[0, 5] = float("nan")
    sampling = params(allowed_token_ids=(5,))
    made = TokenChooser().choose(values, [item(sampling), item(sampling, request_id="good")])
    assert (made.errors, made.refused, made.sampled) == ({"a": NOT_FINITE}, {}, {"good": 5})


def test_an_id_that_is_used_again_starts_from_nothing() -> None:
    chooser = LogitProcessors()
    values = logits()
    sampling = params(presence_penalty=2.0)
    chooser.apply(values, [item(sampling, output=[])])
    chooser.apply(values, [item(sampling, output=[4])])
    chooser.apply(values, [item(sampling, output=[4, 6])])
    fresh, _ = chooser.apply(values, [item(sampling, output=[])])
    assert torch.equal(fresh, values)
    after, _ = chooser.apply(values, [item(sampling, output=[8])])
    assert (after != values).nonzero().tolist() == [[0, 8]]


def test_long_lists_are_read_once_a_request_and_never_mistaken_for_anothers() -> None:
    chooser = LogitProcessors()
    values = logits()
    first = params(allowed_token_ids=(3,), logit_bias=((3, 1.0),))
    made = []
    for index in range(3):
        chooser.apply(values, [item(first, output=[0] * index)])
        made += chooser._lists._kept.values()
    assert [each is made[0] for each in made] == [True] * 3
    second, _ = chooser.apply(values, [item(params(allowed_token_ids=(4, 5)))])
    assert second[0].isfinite().nonzero().flatten().tolist() == [4, 5]
    chooser.apply(values, [item(first, request_id="other")])
    assert list(chooser._lists._kept) == ["other"]
    chooser.apply(values, [item(params(), request_id="plain")])
    assert not chooser._lists._kept


WANTS = st.fixed_dictionaries(
    {"seed": st.integers(0, 2**63), "temperature": st.sampled_from([0.0, 0.8, 1.5])},
    optional={
        "presence_penalty": st.sampled_from([-2.0, 1.0]),
        "frequency_penalty": st.sampled_from([-1.0, 2.0]),
        "repetition_penalty": st.sampled_from([0.7, 1.5]),
        "logit_bias": st.just(((1, 3.0), (2, -100.0))),
        "allowed_token_ids": st.just(tuple(range(0, VOCAB, 2))),
        "bad_words": st.just(((4,), (5, 6))),
        "min_p": st.sampled_from([0.05, 0.5]),
        "top_p": st.sampled_from([0.5, 0.9]),
        "top_k": st.sampled_from([1, 7]),
        "logprobs": st.sampled_from([0, 3]),
        "min_tokens": st.just(3),
        "stop_token_ids": st.just(frozenset({0, 2})),
    },
)
BATCHES = st.lists(
    st.tuples(WANTS, st.lists(st.integers(0, VOCAB - 1), max_size=9)), min_size=1, max_size=6
)


@given(BATCHES, st.integers(0, 100))
def test_a_request_gets_what_it_gets_alone(
    batch: list[tuple[dict[str, object], list[int]]], seed: int
) -> None:
    values = logits(len(batch), seed)
    before = values.clone()
    items = [
        item(params(**wants), output=output, request_id=str(i))
        for i, (wants, output) in enumerate(batch)
    ]
    together = TokenChooser().choose(values, items)
    for i, each in enumerate(items):
        alone = TokenChooser().choose(values[i : i + 1], [each])
        assert alone.sampled == {str(i): together.sampled[str(i)]}
        assert alone.logprobs.get(str(i)) == together.logprobs.get(str(i))
    assert torch.equal(values, before)

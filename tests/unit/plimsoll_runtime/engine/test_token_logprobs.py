"""Log-probabilities against torch's log_softmax, row by row."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.engine.logprobs import token_logprobs

VOCAB = 30


def logits(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * 3


@given(
    st.lists(st.tuples(st.integers(0, VOCAB - 1), st.sampled_from([0, 1, 5, 20, 99])), min_size=1)
)
def test_each_row_is_its_own_log_softmax(rows: list[tuple[int, int]]) -> None:
    values = logits(len(rows))
    token_ids, counts = zip(*rows, strict=True)
    told = token_logprobs(values, token_ids, counts)
    for row, each, token, count in zip(values, told, token_ids, counts, strict=True):
        expected = row.log_softmax(dim=-1)
        order = sorted(range(VOCAB), key=lambda i: -float(expected[i]))
        assert each.token_id == token
        assert each.logprob == float(expected[token])
        assert each.rank == order.index(token) + 1
        assert each.top == tuple((i, float(expected[i])) for i in order[:count])


def test_equals_are_told_in_the_order_of_their_ids_and_share_the_best_rank() -> None:
    values = torch.zeros(1, VOCAB)
    values[0, [4, 9, 20]] = 2.0
    (told,) = token_logprobs(values, [20], [3])
    assert [token for token, _ in told.top] == [4, 9, 20]
    assert told.rank == 1


def test_the_chosen_tokens_value_is_the_very_one_among_the_likeliest() -> None:
    """Who asks whether a text was greedy compares the two for equality."""
    values = logits(50, seed=7)
    best = values.argmax(dim=-1).tolist()
    for each in token_logprobs(values, best, [1] * 50):
        assert each.top == ((each.token_id, each.logprob),)


def test_nothing_asked() -> None:
    assert token_logprobs(torch.empty(0, VOCAB), [], []) == []

"""Prompt and output are one sequence of tokens."""

from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.core.request import Request, SamplingParams


@given(st.data(), st.lists(st.integers(), min_size=1), st.lists(st.integers()))
def test_token_ids_slices_the_concatenation(
    data: st.DataObject, prompt: list[int], output: list[int]
) -> None:
    request = Request("a", prompt, SamplingParams(max_tokens=1), 0.0, output_token_ids=output)
    start = data.draw(st.integers(0, request.num_tokens))
    stop = data.draw(st.integers(start, request.num_tokens))
    assert request.token_ids(start, stop) == (prompt + output)[start:stop]

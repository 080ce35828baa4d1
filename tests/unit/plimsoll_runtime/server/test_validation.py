from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.server.errors import APIError
from plimsoll_runtime.server.protocol import (
    UNSUPPORTED_CHAT,
    UNSUPPORTED_COMPLETION,
    ChatCompletionRequest,
    CompletionRequest,
)
from plimsoll_runtime.server.validation import (
    ModelLimits,
    parse_request,
    sampling_params,
    text_options,
)

LIMITS = ModelLimits(max_model_len=100, vocab_size=1000, eos_token_ids=frozenset({2, 3}))
MESSAGES = [{"role": "user", "content": "hi"}]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


def completion(**fields: Any) -> CompletionRequest:
    return parse_request({"prompt": "x", **fields}, CompletionRequest, UNSUPPORTED_COMPLETION)


def chat(**fields: Any) -> ChatCompletionRequest:
    return parse_request({"messages": MESSAGES, **fields}, ChatCompletionRequest, UNSUPPORTED_CHAT)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -2}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 10**400}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"best_of": 2}, "best_of"),
        ({"seed": 2**63}, "seed"),
        ({"stop": ""}, "stop.0"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": "x" * 65}, "stop.0"),
        ({"stop": "中" * 22}, "stop"),
        ({"stop": 3}, "stop"),
        ({"stop_token_ids": [-1]}, "stop_token_ids.0"),
        ({"stop_token_ids": [1] * 65}, "stop_token_ids"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"model": "m" * 257}, "model"),
        ({"logit_bias": {"1": 100.1}}, "logit_bias.1"),
        ({"logit_bias": {str(each): 1 for each in range(1025)}}, "logit_bias"),
        ({"presence_penalty": 2.1}, "presence_penalty"),
        ({"frequency_penalty": -2.1}, "frequency_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"repetition_penalty": 101}, "repetition_penalty"),
        ({"min_p": 1.1}, "min_p"),
        ({"allowed_token_ids": [-1]}, "allowed_token_ids.0"),
        ({"allowed_token_ids": [1] * 4097}, "allowed_token_ids"),
        ({"bad_words": ["x"] * 65}, "bad_words"),
        ({"bad_words": [""]}, "bad_words.0"),
        ({"prompt_logprobs": 21}, "prompt_logprobs"),
        ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"guided_json": {}}, "guided_json"),
        ({"use_beam_search": True}, "use_beam_search"),
    ],
)
def test_a_field_out_of_bounds_is_named(fields: dict[str, Any], param: str) -> None:
    for parse in (completion, chat):
        with pytest.raises(APIError) as caught:
            parse(**fields)
        assert (caught.value.status, caught.value.param) == (400, param)
        assert param in caught.value.message


@pytest.mark.parametrize(
    "fields",
    [{"echo": 1}, {"logprobs": -1}, {"logprobs": 21}, {"logprobs": True}, {"suffix": "end"}],
)
def test_completions_refuse_what_they_cannot_do(fields: dict[str, Any]) -> None:
    with pytest.raises(APIError) as caught:
        completion(**fields)
    assert caught.value.param == next(iter(fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"logprobs": 1},
        {"top_logprobs": 21},
        {"max_tokens": 0},
        {"functions": [{}]},
        {"chat_template": "{{ messages }}"},
        {"continue_final_message": True},
        {"modalities": ["audio"]},
        {"messages": []},
        {"messages": MESSAGES * 4097},
        {"messages": [{"content": "no role"}]},
        {"messages": [{"role": "function", "content": "42"}]},
        {"chat_template_kwargs": {str(index): 1 for index in range(17)}},
    ],
)
def test_chat_refuses_what_it_cannot_do(fields: dict[str, Any]) -> None:
    with pytest.raises(APIError) as caught:
        chat(**fields)
    assert caught.value.status == 400
    assert str(caught.value.param).startswith(next(iter(fields)))


def test_neutral_values_of_unsupported_fields_and_unknown_fields_pass() -> None:
    for table, parse in ((UNSUPPORTED_COMPLETION, completion), (UNSUPPORTED_CHAT, chat)):
        for name, values in table.items():
            for value in values:
                assert parse(**{name: value}).n is None
    assert completion(user="u", metadata={"a": 1}, no_such_field=[[]]).prompt == "x"


@given(fields=st.dictionaries(st.sampled_from(sorted(ChatCompletionRequest.model_fields)), JSON))
def test_anything_is_read_or_refused(fields: dict[str, Any]) -> None:
    for parse in (completion, chat):
        refused = APIError(400, "")
        try:
            parse(**fields)
        except APIError as error:
            refused = error
        assert refused.status == 400
        assert len(refused.message) < 400
        assert " at 0x" not in refused.message


def test_defaults_are_openais() -> None:
    params = sampling_params(chat(), 10, None, LIMITS)
    assert (params.max_tokens, params.temperature, params.top_p, params.top_k) == (90, 1.0, 1.0, 0)
    assert params.seed is None
    assert params.stop_token_ids == {2, 3}


def test_options_reach_the_engine() -> None:
    body = chat(
        temperature=0,
        top_p=0.5,
        top_k=-1,
        seed=-1,
        min_tokens=2,
        ignore_eos=True,
        stop_token_ids=[7],
        stop="END",
        include_stop_str_in_output=True,
        skip_special_tokens=False,
    )
    params = sampling_params(body, 10, 5, LIMITS)
    assert (params.max_tokens, params.temperature, params.top_p, params.top_k) == (5, 0, 0.5, 0)
    assert params.seed is not None
    assert 0 <= params.seed < 2**63
    assert (params.min_tokens, params.stop_token_ids) == (2, {7})
    options = text_options(body)
    assert (options.stop, options.include_stop, options.skip_special_tokens) == (
        ("END",),
        True,
        False,
    )


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "ok"),
    [(99, None, True), (100, None, False), (60, 40, True), (60, 41, False), (101, 1, False)],
)
def test_prompt_and_answer_must_fit_the_context(
    prompt: int, max_tokens: int | None, ok: bool
) -> None:
    if ok:
        assert sampling_params(chat(), prompt, max_tokens, LIMITS).max_tokens == 100 - prompt
        return
    with pytest.raises(APIError) as caught:
        sampling_params(chat(), prompt, max_tokens, LIMITS)
    assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")
    assert "100" in caught.value.message
    assert str(prompt) in caught.value.message


def test_min_tokens_over_max_tokens_is_refused() -> None:
    with pytest.raises(APIError, match="min_tokens 6"):
        sampling_params(chat(min_tokens=6), 10, 5, LIMITS)


def test_stop_token_ids_must_be_in_the_vocabulary() -> None:
    with pytest.raises(APIError, match="1000 is not in the vocabulary"):
        sampling_params(chat(stop_token_ids=[1000]), 10, 5, LIMITS)

import json
from typing import Any

import pytest

from plimsoll_runtime.core.speculation import SpeculativeConfig, SpeculativeMethod
from plimsoll_runtime.server.speculative_config import read_speculative_config

NGRAM = {"method": "ngram", "num_speculative_tokens": 4}


def test_vllms_names_are_read() -> None:
    text = json.dumps(
        NGRAM | {"prompt_lookup_max": 5, "prompt_lookup_min": 3, "disable_by_batch_size": 8}
    )
    config = SpeculativeConfig(SpeculativeMethod.NGRAM, 4, 5, 3, None, 8)
    assert read_speculative_config(text) == config
    text = '{"method": "draft_model", "model": "builtin://tiny", "num_speculative_tokens": 2}'
    config = SpeculativeConfig(SpeculativeMethod.DRAFT_MODEL, 2, model="builtin://tiny")
    assert read_speculative_config(text) == config


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "must be a JSON object"),
        ({}, "method None is not one of ngram, draft_model"),
        ({"method": ["ngram"]}, "is not one of ngram, draft_model"),
        ({"method": "ngram"}, "missing required field `num_speculative_tokens`"),
        (NGRAM | {"method": "eagle"}, "method 'eagle' is not one of ngram, draft_model"),
        (NGRAM | {"num_speculative_tokens": "4"}, "Expected `int`, got `str`"),
        (NGRAM | {"num_speculative_tokens": True}, "Expected `int`, got `bool`"),
        (NGRAM | {"num_speculative_tokens": 4.5}, "Expected `int`, got `float`"),
        (NGRAM | {"num_speculative_tokens": 0}, "num_speculative_tokens must be 1 to 32, not 0"),
        (NGRAM | {"draft_tensor_parallel_size": 1}, "unknown field 'draft_tensor_parallel_size'"),
        (NGRAM | {"model": "x"}, "method ngram takes no model"),
        (NGRAM | {"revision": "x"}, "method ngram has no model, but revision is 'x'"),
    ],
)
def test_what_is_wrong_is_named(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_speculative_config(json.dumps(value))


@pytest.mark.parametrize("text", ["", "{", "NaN}", "[" * 100_000, '{"method": 1, "method": 2}'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not valid JSON"):
        read_speculative_config(text)

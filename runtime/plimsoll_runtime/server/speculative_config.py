"""`--speculative-config`: JSON with vLLM's names, read strictly."""

import json
from dataclasses import fields
from typing import Any

import msgspec

from plimsoll_runtime.core.speculation import SpeculativeConfig, SpeculativeMethod

FIELDS = tuple(each.name for each in fields(SpeculativeConfig))

METHODS = tuple(SpeculativeMethod)


def read_speculative_config(text: str) -> SpeculativeConfig:
    """Raises ValueError that names the field which is wrong, for unknown ones too."""
    try:
        values = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError("must be a JSON object")  # noqa: TRY004 - input of a person
    unknown = sorted(values.keys() - set(FIELDS))
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}; there are {', '.join(FIELDS)}")
    method = values.get("method")
    if method not in METHODS:
        raise ValueError(f"method {method!r} is not one of {', '.join(METHODS)}")
    try:
        return msgspec.convert(values, SpeculativeConfig)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is there twice")
    return result

"""`--speculative-config`: JSON with vLLM's names, read strictly."""

import json
from dataclasses import fields, replace
from typing import Any

import msgspec

from plimsoll_runtime.core.speculation import SpeculativeConfig, SpeculativeMethod
from plimsoll_runtime.server.model_source import resolve_model

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


def with_draft_folder(config: SpeculativeConfig | None) -> SpeculativeConfig | None:
    """The same with the folder of its draft model, if it has one, downloaded where need be.

    Raises ValueError where the model cannot be had.
    """
    if config is None or config.model is None:
        return config
    try:
        folder = resolve_model(config.model, config.revision).folder
    except ValueError as error:
        raise ValueError(f"--speculative-config: draft model: {error}") from error
    return replace(config, model=str(folder), revision=None)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is there twice")
    return result

"""What strings may look like; pydantic and the API server match the same patterns alike."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError, create_model

from plimsoll_operator.api.formats import (
    ACCELERATOR,
    BY_PATTERN,
    CONFIG_MAP_KEY,
    DURATION,
    OBJECT_NAME,
    QUANTITY,
    REVISION,
    SECRET_KEY,
    SERVED_NAME,
    SOURCE,
    Format,
)
from plimsoll_operator.api.quantity import parse_duration, parse_quantity


def model_of(item: Format) -> type[BaseModel]:
    fields: dict[str, Any] = {"value": (str, item.field())}
    return create_model("Model", **fields)


MODELS = {item.pattern: model_of(item) for item in BY_PATTERN.values()}


def fits(item: Format, text: str) -> bool:
    try:
        MODELS[item.pattern](value=text)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("item", "texts"),
    [
        (SOURCE, ["hf://org/name", "hf://Qwen/Qwen3-8B", "builtin://tiny"]),
        (SOURCE, ["pvc://claim", "pvc://my.claim/a/b.c/_d", "oci://ghcr.io/org/name:1@sha256:0a"]),
        (REVISION, ["main", "0e9e39f", "refs/pr/1", "v1.2"]),
        (SERVED_NAME, ["chat", "org/model:v1", "Llama-3.1"]),
        (ACCELERATOR, ["cpu", "NVIDIA-H200", "NVIDIA-A100-SXM4-80GB"]),
        (OBJECT_NAME, ["config", "a.b-c", "0"]),
        (CONFIG_MAP_KEY, ["config.json", "A_b-c"]),
        (SECRET_KEY, ["token", "A_b-c.1"]),
        (DURATION, ["800ms", "1.5s", "5m", "2h"]),
        (QUANTITY, ["1", "2.5", "2500m", "16Gi", "0"]),
    ],
)
def test_taken(item: Format, texts: list[str]) -> None:
    for text in texts:
        assert fits(item, text), text


@pytest.mark.parametrize(
    ("item", "texts"),
    [
        (SOURCE, ["s3://b/m", "/etc/passwd", "hf://org", "hf://../x", "hf://o/--x; rm", "tiny"]),
        (
            SOURCE,
            ["pvc://../x", "pvc://c/../x", "pvc:///etc", "pvc://c//x", "pvc://a..b", "pvc://"],
        ),
        (
            SOURCE,
            ["builtin://tïny", "builtin://tiny\n", "oci://--x", "oci://a b", "hf://a/b/c", ""],
        ),
        (REVISION, ["--x; rm", "a/../b", "..", "a b", "main\n", "/x", "x/", "é"]),
        (SERVED_NAME, ["--x", "ü", "a b", "a\n", "$(x)", ""]),
        (ACCELERATOR, ["NVIDIA H200", "--x", "a-", "", "a,b"]),
        (OBJECT_NAME, ["../x", "a/b", "..", "A", "a..b", "-a", "a-", ""]),
        (CONFIG_MAP_KEY, ["../y", "a/b", "", "a b"]),
        (SECRET_KEY, ["../y", "a/b", "", "a b"]),
        (DURATION, ["5", "5 s", "-5s", "5sec", "1e3s", "soon", "٣s", ""]),
        (QUANTITY, ["1e3Gi", "-1", "+1", "20GB", "NaN", "inf", ".5", "1.", "٣", ""]),
    ],
)
def test_refused(item: Format, texts: list[str]) -> None:
    for text in texts:
        assert not fits(item, text), text


@given(st.from_regex(DURATION.pattern), st.from_regex(QUANTITY.pattern))
def test_what_fits_can_be_read(duration: str, quantity: str) -> None:
    if fits(DURATION, duration):
        assert parse_duration(duration) >= 0
    if fits(QUANTITY, quantity):
        assert parse_quantity(quantity) >= 0


def test_messages_say_what_is_needed_and_patterns_can_stand_in_cel() -> None:
    for item in BY_PATTERN.values():
        assert item.message.startswith("must be ")
        assert not item.message.endswith(".")
        # A quote would end the rule's string.
        assert "'" not in item.pattern
        # Without both ends, any string that holds a match would fit.
        assert item.pattern.startswith("^")
        assert item.pattern.endswith("$")

"""Which fields of a record say when a request came, and how long it was.

Public traces and access logs name them differently; every name below stands for one thing only.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

TIME = ("t", "timestamp", "time", "ts", "@timestamp", "arrival_time", "start_time", "created")
PROMPT = ("prompt_tokens", "input_tokens", "input_length", "contexttokens", "request tokens")
OUTPUT = (
    "output_tokens",
    "completion_tokens",
    "output_length",
    "generatedtokens",
    "response tokens",
)
PREFIX = ("prefix_ids", "hash_ids")
TENANT = ("tenant", "user")
PRIORITY = ("priority",)
NESTED = ("usage", "response", "request", "body")
"""Objects in a record that are looked into, as access logs keep the answer's `usage` in them."""
MILLISECONDS = frozenset({"input_length", "hash_ids"})
"""Fields of Mooncake's traces, whose timestamps are milliseconds from the beginning."""
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
MOST_TOKENS = 10_000_000
MOST_PREFIX_IDS = 1_000_000
_LONGEST_TENANT = 253


class RecordError(ValueError):
    """A record is not understood; the message names the field, the value and the way out."""


class Record(NamedTuple):
    """A request, before times are made relative and prefix ids are numbered anew. Seconds."""

    at: float
    prompt_tokens: int
    output_tokens: int
    prefix_ids: tuple[str | int, ...]
    tenant: str
    priority: int


def record_of(row: Mapping[str, Any], unit: str | None = None) -> Record | None:
    """The request that a row tells of; None where it tells of no tokens that came out.

    Such are log lines about something else, and requests that failed. `unit` is that of numbers
    that are times, a key of UNITS; None tells it by what the row looks like. Raises RecordError.
    """
    fields = _flat(row)
    prompt, output = _first(fields, PROMPT), _first(fields, OUTPUT)
    if prompt is None or output is None:
        return None
    prompt_tokens = _whole(*prompt, 0, MOST_TOKENS)
    output_tokens = _whole(*output, 0, MOST_TOKENS)
    if not prompt_tokens or not output_tokens:
        return None
    time = _first(fields, TIME)
    if time is None:
        raise RecordError(f"no field says when the request came: name one of {', '.join(TIME)}")
    if unit is None and not MILLISECONDS.isdisjoint(fields):
        unit = "ms"
    tenant, priority = _first(fields, TENANT), _first(fields, PRIORITY)
    return Record(
        _seconds(*time, unit),
        prompt_tokens,
        output_tokens,
        _prefix_ids(_first(fields, PREFIX)),
        "" if tenant is None else str(tenant[1])[:_LONGEST_TENANT],
        0 if priority is None else _whole(*priority, -100, 100),
    )


_Field = tuple[str, Any]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row's fields by their names in lower case, those of objects in NESTED after its own."""
    fields: dict[str, Any] = {}
    open_objects: list[Mapping[str, Any]] = [row]
    for _ in range(8):
        if not open_objects:
            break
        current = open_objects.pop(0)
        for name, value in current.items():
            key = str(name).strip().lower()
            if key in NESTED and isinstance(value, Mapping):
                open_objects.append(value)
            elif value is not None and value != "":
                fields.setdefault(key, value)
    return fields


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> _Field | None:
    return next(((name, fields[name]) for name in names if name in fields), None)


def _whole(name: str, value: Any, least: int, most: int) -> int:
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        number = math.nan
    if isinstance(value, bool) or not (least <= number <= most) or number != int(number):
        raise RecordError(f"{name}: {_short(value)}: give a whole number from {least} to {most}")
    return int(number)


def _seconds(name: str, value: Any, unit: str | None) -> float:
    """Seconds from the row's own zero, or from 1970 in UTC where the time is a date."""
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        return _date(name, value)
    if isinstance(value, bool) or not 0 <= number < 1e20:
        raise RecordError(f"{name}: {_short(value)}: give a time that is not negative")
    if unit is None:
        # No trace lasts three thousand years, so larger numbers count less than seconds from 1970.
        unit = next(
            (u for u, most in (("s", 1e11), ("ms", 1e14), ("us", 1e17)) if number < most), "ns"
        )
    return number * UNITS[unit]


def _date(name: str, value: str) -> float:
    try:
        # Azure's traces have seven digits after the seconds; more than six say nothing here.
        head, dot, rest = value.strip().partition(".")
        digits = len(rest) - len(rest.lstrip("0123456789"))
        moment = datetime.fromisoformat(head + dot + rest[: min(digits, 6)] + rest[digits:])
    except ValueError as error:
        raise RecordError(
            f"{name}: {_short(value)}: give seconds or a date such as 2026-01-31T12:00:00.5Z"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def _prefix_ids(field: _Field | None) -> tuple[str | int, ...]:
    if field is None:
        return ()
    name, value = field
    if not isinstance(value, list) or len(value) > MOST_PREFIX_IDS:
        raise RecordError(f"{name}: {_short(value)}: give a list of ids")
    for each in value:
        if isinstance(each, bool) or not isinstance(each, int | str):
            raise RecordError(f"{name}: {_short(each)}: ids are whole numbers or strings")
    return tuple(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

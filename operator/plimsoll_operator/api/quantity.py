"""Kubernetes quantities, decimal numbers and durations as strings, since the API has no floats."""

import re
from decimal import Decimal, InvalidOperation

_SUFFIXES = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
}
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}


def parse_quantity(text: str | int | float) -> Decimal:
    """The number that a Kubernetes quantity such as `2500m`, `1.5` or `16Gi` stands for.

    Raises ValueError for anything else; exponents (`1e3`) are not accepted.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)", str(text).strip())
    if match is None or match[2] not in _SUFFIXES:
        raise ValueError(f"not a quantity: {text!r}; write for example 2, 2.5, 2500m or 16Gi")
    try:
        return Decimal(match[1]) * _SUFFIXES[match[2]]
    except InvalidOperation as error:
        raise ValueError(f"not a quantity: {text!r}") from error


def parse_bytes(text: str | int | float) -> int:
    """A quantity of bytes, rounded down. Raises ValueError."""
    return int(parse_quantity(text))


def parse_duration(text: str) -> float:
    """Seconds in a duration such as `800ms`, `1.5s` or `5m`. Raises ValueError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", text.strip())
    if match is None:
        raise ValueError(f"not a duration: {text!r}; write for example 800ms, 1.5s or 5m")
    return float(Decimal(match[1]) * _SECONDS[match[2]])


def format_duration(seconds: float) -> str:
    """`640ms` below ten seconds, else `12.5s`; stable, so that status compares byte by byte."""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f}ms"
    if seconds < 10:
        return f"{round(seconds * 1000)}ms"
    return f"{seconds:.1f}s"


def format_bytes(count: int) -> str:
    """`5.2Gi`, for messages to people; never parsed again."""
    for suffix in ("Ti", "Gi", "Mi", "Ki"):
        unit = int(_SUFFIXES[suffix])
        if count >= unit:
            return f"{count / unit:.1f}{suffix}"
    return str(count)

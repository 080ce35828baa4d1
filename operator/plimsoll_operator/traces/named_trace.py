"""The trace that a spec names, out of the data of a ConfigMap: pure."""

import io
from collections.abc import Mapping
from typing import Any

from plimsoll_operator.api.workload import TraceKeyRef
from plimsoll_operator.traces.trace_file import Trace, TraceError, parse_trace
from plimsoll_operator.traces.trouble import MALFORMED, NOT_FOUND, TOO_LARGE, NamedTraceError
from plimsoll_planner.simulation.recorded_trace import RecordedTrace

MOST_BYTES = 1 << 20
"""As much as a ConfigMap may hold."""
FEWEST_REQUESTS, MOST_REQUESTS = 100, 5000
"""Fewer say nothing of a 95th percentile; more would take minutes to plan for."""
_SHORTER = "take its fullest part: plimsoll trace FILE --fullest {} -o configmap"


def named_trace(
    data: Mapping[str, Any] | None, reference: TraceKeyRef, namespace: str
) -> RecordedTrace:
    """The trace in the ConfigMap with that `data`, None where there is no such ConfigMap.

    Raises NamedTraceError.
    """
    origin = f"ConfigMap {reference.name}, key {reference.key}"
    if data is None:
        raise NamedTraceError(
            NOT_FOUND,
            f"there is no ConfigMap {reference.name} in namespace {namespace}: create it, as with "
            f"plimsoll trace FILE -o configmap --name {reference.name}",
        )
    text = data.get(reference.key)
    if not isinstance(text, str):
        keys = ", ".join(sorted(map(str, data))[:8]) or "none"
        raise NamedTraceError(
            NOT_FOUND,
            f"ConfigMap {reference.name} in namespace {namespace} has no text under the key "
            f"{reference.key}, but under: {keys}",
        )
    if len(text.encode()) > MOST_BYTES:
        raise NamedTraceError(
            TOO_LARGE,
            f"{origin}: more than {MOST_BYTES} bytes, which no ConfigMap may hold: "
            f"{_SHORTER.format(MOST_REQUESTS)}",
        )
    try:
        found = parse_trace(io.StringIO(text, newline=None), origin, strict=True)
    except TraceError as error:
        raise NamedTraceError(MALFORMED, str(error)) from error
    return RecordedTrace.of(_bounded(found, origin).requests)


def _bounded(found: Trace, origin: str) -> Trace:
    count = len(found.requests)
    if count > MOST_REQUESTS:
        raise NamedTraceError(
            TOO_LARGE,
            f"{origin}: {count} requests, more than {MOST_REQUESTS}: "
            f"{_SHORTER.format(MOST_REQUESTS)}",
        )
    if count < FEWEST_REQUESTS:
        raise NamedTraceError(
            MALFORMED,
            f"{origin}: {count} requests, fewer than {FEWEST_REQUESTS}, say little of a 95th "
            "percentile: record more",
        )
    if found.requests[-1].at <= 0:
        raise NamedTraceError(
            MALFORMED,
            f"{origin}: {count} requests at one moment have no rate: record when each came",
        )
    return found

"""Reads traces and access logs: JSON lines or CSV with a header, plain or compressed with gzip."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from plimsoll_operator.traces.fields import Record, RecordError, record_of
from plimsoll_planner.simulation.arrival import Arrival

STDIN = "-"
MOST_REQUESTS = 5_000_000
LONGEST_LINE = 8 * 2**20
_GZIP = b"\x1f\x8b"
_JSON = ("{", "[")
_AHEAD = 1000
"""Lines of something else that a log in JSON may begin with."""


class TraceError(ValueError):
    """A trace cannot be read; one line, which names the file and, where it is known, the line."""


@dataclass(frozen=True)
class Trace:
    """Requests in the order of arrival, the first at time 0; `skipped` records told of none."""

    requests: tuple[Arrival, ...]
    skipped: int


def read_trace(source: str, stdin: TextIO, unit: str | None = None) -> Trace:
    """The trace in a file, or on stdin for `-`. Raises TraceError.

    `unit` is that of times that are numbers, see `fields.record_of`.
    """
    if source == STDIN:
        return parse_trace(stdin, "stdin", unit)
    path = Path(source)
    try:
        with path.open("rb") as file:
            packed = file.peek(2)[:2] == _GZIP
            unpacked = gzip.GzipFile(fileobj=file) if packed else file
            with TextIOWrapper(unpacked, encoding="utf-8") as text:
                return parse_trace(text, source, unit)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TraceError(f"{source}: cannot be read: {reason}") from error


def parse_trace(
    lines: TextIO, origin: str, unit: str | None = None, *, strict: bool = False
) -> Trace:
    """See `read_trace`; `origin` is what the file is called in messages. Where it is `strict` no
    record may be skipped."""
    records: list[Record] = []
    skipped = 0
    try:
        for number, row in _rows(_bounded(lines, origin), origin, strict=strict):
            try:
                record = record_of(row, unit)
            except RecordError as error:
                raise TraceError(f"{origin}:{number}: {error}") from error
            if record is None:
                if strict:
                    raise TraceError(
                        f"{origin}:{number}: no tokens of a prompt and of an answer, as "
                        "prompt_tokens and output_tokens above 0: remove the line, as "
                        "`plimsoll trace` does"
                    )
                skipped += 1
            else:
                records.append(record)
            if len(records) > MOST_REQUESTS:
                raise TraceError(
                    f"{origin}:{number}: more than {MOST_REQUESTS} requests: take a part of them"
                )
    except UnicodeDecodeError as error:
        raise TraceError(f"{origin}: cannot be read: not UTF-8 text") from error
    if not records:
        raise TraceError(
            f"{origin}: no record has the tokens of a prompt and of an answer, as prompt_tokens "
            "and output_tokens, or in `usage`; `plimsoll trace --help` names the formats"
        )
    return Trace(_arrivals(records), skipped)


def trace_lines(requests: Sequence[Arrival]) -> Iterator[str]:
    """The requests as JSON lines, without line ends; fields that say nothing are left out."""
    for each in requests:
        row: dict[str, object] = {
            "t": round(each.at, 6),
            "prompt_tokens": each.prompt_tokens,
            "output_tokens": each.output_tokens,
        }
        if each.prefix_ids:
            row["prefix_ids"] = each.prefix_ids
        if each.tenant:
            row["tenant"] = each.tenant
        if each.priority:
            row["priority"] = each.priority
        yield json.dumps(row, separators=(",", ":"), ensure_ascii=False)


def _bounded(lines: TextIO, origin: str) -> Iterator[str]:
    number = 0
    while line := lines.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise TraceError(f"{origin}:{number}: a line of more than {LONGEST_LINE} characters")
        yield line


def _rows(
    lines: Iterator[str], origin: str, *, strict: bool
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Records with the number of their line."""
    first = next(lines, "").lstrip("\ufeff")
    if not first.strip():
        raise TraceError(f"{origin}:1: the file is empty, or its first line is")
    ahead = [first]
    if not first.lstrip().startswith(_JSON):
        ahead += islice(lines, _AHEAD)
    # A log may begin with what a server says at its start; a header of CSV is followed by no JSON.
    is_json = any(line.lstrip().startswith(_JSON) for line in ahead)
    everything = chain(ahead, lines)
    yield from _json_rows(everything, origin, strict) if is_json else _csv_rows(everything, origin)


def _json_rows(
    lines: Iterable[str], origin: str, strict: bool
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if not strict and not line.lstrip().startswith(_JSON):
            yield number, {}
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", None) or str(error)
            raise TraceError(f"{origin}:{number}: not JSON: {reason}") from error
        if not isinstance(row, Mapping):
            raise TraceError(f"{origin}:{number}: not an object: give one request a line")
        yield number, row


def _csv_rows(lines: Iterable[str], origin: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(lines, restkey="", strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise TraceError(f"{origin}:{reader.line_num}: not CSV: {error}") from error


def _arrivals(records: list[Record]) -> tuple[Arrival, ...]:
    records.sort(key=lambda each: each.at)
    numbers: dict[str | int, int] = {}
    return tuple(
        Arrival(
            each.at - records[0].at,
            each.prompt_tokens,
            each.output_tokens,
            tuple(numbers.setdefault(name, len(numbers)) for name in each.prefix_ids),
            each.tenant,
            each.priority,
        )
        for each in records
    )

"""The trace that a spec names: what is wrong with it is told with its line, value and way out."""

import json

import pytest

from plimsoll_operator.api.workload import TraceKeyRef
from plimsoll_operator.traces.named_trace import (
    FEWEST_REQUESTS,
    MOST_BYTES,
    MOST_REQUESTS,
    named_trace,
)
from plimsoll_operator.traces.trouble import MALFORMED, NOT_FOUND, TOO_LARGE, NamedTraceError

REFERENCE = TraceKeyRef(name="traffic")
ROWS = [{"t": i, "prompt_tokens": 100, "output_tokens": 10} for i in range(FEWEST_REQUESTS)]


def text(*more: object, rows: list[dict[str, int]] = ROWS) -> str:
    return "\n".join([*map(json.dumps, rows), *map(str, more)])


def test_its_requests_are_read() -> None:
    found = named_trace({"trace.jsonl": text()}, REFERENCE, "ml")
    assert len(found.arrivals) == FEWEST_REQUESTS
    spaced = "\n\n".join(json.dumps(row, indent=None, separators=(" ,", " : ")) for row in ROWS)
    assert named_trace({"trace.jsonl": spaced}, REFERENCE, "ml") == found
    rows = "\n".join(f"{row['t']},100,10" for row in ROWS)
    csv = f"t,prompt_tokens,output_tokens\n{rows}\n"
    assert named_trace({"t.csv": csv}, TraceKeyRef(name="traffic", key="t.csv"), "ml") == found


@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        (
            None,
            NOT_FOUND,
            "there is no ConfigMap traffic in namespace ml: create it, as with plims",
        ),
        ({"a": "x", "b": "y"}, NOT_FOUND, "has no text under the key trace.jsonl, but under: a, b"),
        ({}, NOT_FOUND, "but under: none"),
        ({"trace.jsonl": "x" * (MOST_BYTES + 1)}, TOO_LARGE, f"more than {MOST_BYTES} bytes"),
        (
            {"trace.jsonl": text(rows=[ROWS[0]] * (MOST_REQUESTS + 1))},
            TOO_LARGE,
            f"{MOST_REQUESTS + 1} requests, more than {MOST_REQUESTS}: take its fullest part",
        ),
        ({"trace.jsonl": text(rows=ROWS[:99])}, MALFORMED, "99 requests, fewer than 100"),
        ({"trace.jsonl": text(rows=[ROWS[0]] * 100)}, MALFORMED, "at one moment have no rate"),
        ({"trace.jsonl": text("{")}, MALFORMED, "key trace.jsonl:101: not JSON"),
        (
            {"trace.jsonl": text('{"t": "soon", "prompt_tokens": 1, "output_tokens": 1}')},
            MALFORMED,
            "key trace.jsonl:101: t: 'soon': give seconds or a date",
        ),
        (
            {"trace.jsonl": text('{"t": 1, "prompt_tokens": -1, "output_tokens": 1}')},
            MALFORMED,
            "key trace.jsonl:101: prompt_tokens: -1: give a whole number from 0",
        ),
        (
            {"trace.jsonl": text('{"t": 1, "promt_tokens": 5, "output_tokens": 1}')},
            MALFORMED,
            "key trace.jsonl:101: no tokens of a prompt and of an answer",
        ),
        ({"trace.jsonl": ""}, MALFORMED, "the file is empty"),
    ],
)
def test_what_is_wrong_with_it(data: dict[str, str] | None, reason: str, said: str) -> None:
    with pytest.raises(NamedTraceError) as caught:
        named_trace(data, REFERENCE, "ml")
    assert caught.value.reason == reason
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)

import gzip
import io
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.traces import trace_file
from plimsoll_operator.traces.trace_file import TraceError, parse_trace, read_trace, trace_lines
from plimsoll_planner.simulation.arrival import Arrival

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
"""
BURST_GPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
118,GPT-4,417,276,693,Conversation log
"""
MOONCAKE = """\
{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [46, 47]}
{"timestamp": 3000, "input_length": 600, "output_length": 490, "hash_ids": [46, 57]}
"""
ACCESS_LOG = """\
{"time":"2026-03-01T12:00:02Z","status":200,"response":{"object":"chat.completion","usage":{"prompt_tokens":20,"completion_tokens":7,"total_tokens":27}},"user":"ada"}
{"time":"2026-03-01T12:00:01.5+00:00","status":200,"response":{"usage":{"input_tokens":11,"output_tokens":3}}}
{"time":"2026-03-01T12:00:03Z","status":429,"response":{"error":{"message":"slow down"}}}
{"time":"2026-03-01T12:00:04Z","status":200,"response":{"usage":{"prompt_tokens":8,"total_tokens":8}}}
"""


def parse(text: str, unit: str | None = None) -> tuple[Arrival, ...]:
    return parse_trace(io.StringIO(text), "log", unit).requests


def test_our_own_lines() -> None:
    found = parse(
        '{"t":7.5,"prompt_tokens":3,"output_tokens":2,"tenant":"a","priority":-1}\n\n'
        '{"t":8,"prompt_tokens":600,"output_tokens":2,"prefix_ids":["x","y"]}\n'
    )
    assert found == (
        Arrival(0.0, 3, 2, (), "a", -1),
        Arrival(0.5, 600, 2, (0, 1)),
    )


def test_azures_csv() -> None:
    first, second = parse(AZURE)
    assert first == Arrival(0.0, 374, 44)
    assert second.at == pytest.approx(4.314579, abs=1e-6)
    assert second[1:3] == (396, 109)


def test_burst_gpts_csv_without_what_failed() -> None:
    found = parse_trace(io.StringIO(BURST_GPT), "log")
    assert [each[:3] for each in found.requests] == [(0.0, 472, 18), (113.0, 417, 276)]
    assert found.skipped == 1


def test_mooncakes_lines_count_milliseconds() -> None:
    assert parse(MOONCAKE) == (
        Arrival(0.0, 6758, 500, (0, 1)),
        Arrival(3.0, 600, 490, (0, 2)),
    )


def test_an_access_log_is_sorted_and_what_is_no_answer_skipped() -> None:
    found = parse_trace(io.StringIO(ACCESS_LOG), "log")
    assert found.requests == (Arrival(0.0, 11, 3), Arrival(0.5, 20, 7, (), "ada"))
    assert found.skipped == 2


@pytest.mark.parametrize(
    ("time", "unit", "seconds"),
    [
        (1.5, None, 1.5),
        ("1.5", None, 1.5),
        (1_700_000_000, None, 1_700_000_000.0),
        (1_700_000_000_500, None, 1_700_000_000.5),
        (1_700_000_000_500_000, None, 1_700_000_000.5),
        (1_700_000_000_500_000_000, None, 1_700_000_000.5),
        (1500, "ms", 1.5),
    ],
)
def test_units_of_time(time: object, unit: str | None, seconds: float) -> None:
    rows = [{"ts": 0, "prompt_tokens": 1, "output_tokens": 1}, {"ts": time, "prompt_tokens": 1}]
    rows[1]["output_tokens"] = 1
    assert parse("\n".join(map(json.dumps, rows)), unit)[1].at == pytest.approx(seconds)


GOOD = '{"t":1,"prompt_tokens":3,"output_tokens":2}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "log:1: the file is empty"),
        (GOOD + "{", "log:2: not JSON: "),
        (GOOD + "[1]", "log:2: not an object"),
        (GOOD + "[" * 100_000, "log:2: not JSON: "),
        (GOOD + GOOD.replace("3", '"many"'), "log:2: prompt_tokens: 'many': give a whole number"),
        (GOOD + GOOD.replace("3", "3.5"), "log:2: prompt_tokens: 3.5: give a whole number"),
        (GOOD + GOOD.replace("3", "true"), "log:2: prompt_tokens: True: give a whole number"),
        (GOOD + GOOD.replace("3", "1e9"), "from 0 to 10000000"),
        (GOOD + GOOD.replace("1,", "-1,"), "log:2: t: -1: give a time that is not negative"),
        (GOOD + GOOD.replace("1,", "NaN,"), "log:2: t: nan: give a time"),
        (GOOD + GOOD.replace("1,", '"noon",'), "log:2: t: 'noon': give seconds or a date"),
        (GOOD + GOOD.replace('"t":1,', ""), "log:2: no field says when"),
        (GOOD + GOOD.replace("2}", '2,"prefix_ids":3}'), "log:2: prefix_ids: 3: give a list"),
        (GOOD + GOOD.replace("2}", '2,"prefix_ids":[1.5]}'), "log:2: prefix_ids: 1.5: ids are"),
        ("t,prompt_tokens\n1,2\n", "`plimsoll trace --help` names the formats"),
        ('t,prompt_tokens,output_tokens\n1,2,"3\n', "log:1: not CSV: unexpected end"),
        (GOOD + '{"t":1}\n' * 3 + "{x", "log:5: not JSON"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(TraceError, match=r"^log:") as caught:
        parse(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


def test_lines_and_files_have_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_file, "LONGEST_LINE", 100)
    with pytest.raises(TraceError, match="log:2: a line of more than 100 characters"):
        parse(GOOD + GOOD.strip() + " " * 100)
    monkeypatch.setattr(trace_file, "MOST_REQUESTS", 2)
    with pytest.raises(TraceError, match="log:3: more than 2 requests"):
        parse(3 * GOOD)


def test_files_may_be_compressed(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.jsonl", tmp_path / "b"
    plain.write_text(GOOD, encoding="utf-8-sig")
    packed.write_bytes(gzip.compress(GOOD.encode()))
    for path in (plain, packed):
        assert read_trace(str(path), io.StringIO()).requests == (Arrival(0.0, 3, 2),)
    assert read_trace("-", io.StringIO(GOOD)).requests == (Arrival(0.0, 3, 2),)


@pytest.mark.parametrize("content", [b"\x1f\x8bxxxxxxxxxxxxxxxx", b"\xff\xfe{", None])
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "trace"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(str(path), io.StringIO())


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
@settings(max_examples=30)
def test_nothing_but_a_trace_or_an_error_comes_out(text: str) -> None:
    with suppress(TraceError):
        assert parse(text)


rows = st.fixed_dictionaries(
    {
        "t": st.floats(0, 1e6) | st.none() | st.text(max_size=5),
        "prompt_tokens": st.integers(-1, 99) | st.none() | st.text(max_size=3),
        "output_tokens": st.integers(-1, 99) | st.none(),
        "prefix_ids": st.none() | st.lists(st.integers() | st.text(max_size=2), max_size=3),
        "usage": st.none()
        | st.dictionaries(st.sampled_from(["prompt_tokens", "x"]), st.integers()),
    }
)


@given(st.lists(rows, min_size=1, max_size=6))
@settings(max_examples=30)
def test_what_was_read_is_written_and_read_again_the_same(wanted: list[dict[str, object]]) -> None:
    try:
        found = parse("\n".join(map(json.dumps, wanted)))
    except TraceError:
        return
    again = parse("\n".join(trace_lines(found)))
    assert [each._replace(at=0) for each in again] == [each._replace(at=0) for each in found]
    assert [each.at for each in again] == pytest.approx([each.at for each in found], abs=2e-6)


def test_a_log_in_json_may_hold_lines_of_something_else() -> None:
    health = '127.0.0.1 - "GET /health HTTP/1.1" 200\n'
    found = parse_trace(io.StringIO(health + GOOD + health + "\n" + GOOD), "log")
    assert (len(found.requests), found.skipped) == (2, 2)
    with pytest.raises(TraceError, match="log:1: not JSON"):
        parse_trace(io.StringIO(health + GOOD), "log", strict=True)

"""Answers out of byte streams."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_bench.events import LONGEST_EVENT, Answer, EventReader, StreamError


def event(**content: Any) -> bytes:
    return json.dumps(content).encode()


def piece(text: str, ids: list[int] | None = None, finish: str | None = None) -> bytes:
    choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": finish}
    return event(choices=[choice | ({} if ids is None else {"token_ids": ids})])


USAGE = event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 3})


def answered(*events: bytes, asked: int = 8) -> Answer:
    answer = Answer(asked)
    for number, data in enumerate(events):
        answer.take(data, float(number))
    return answer


@given(st.data())
@settings(max_examples=40)
def test_events_come_whole_however_they_are_cut(data: st.DataObject) -> None:
    wanted = [piece("a", [5]), piece("é\u2028", [6, 7]), USAGE, b"[DONE]"]
    stream = b"".join(
        b"data: " + each + data.draw(st.sampled_from([b"\n\n", b"\r\n\r\n"])) for each in wanted
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    reader = EventReader()
    found = [
        each
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for each in reader.feed(stream[start:end])
    ]
    assert found == wanted


def test_comments_and_other_fields_are_passed_over() -> None:
    reader = EventReader()
    assert list(reader.feed(b": ping\nevent: x\nid: 3\ndata:{}\n\n")) == [b"{}"]


def test_an_endless_event_is_refused() -> None:
    reader = EventReader()
    assert list(reader.feed(b"x" * LONGEST_EVENT)) == []
    with pytest.raises(StreamError, match="more than"):
        list(reader.feed(b"x"))


def test_an_answer_with_ids() -> None:
    answer = answered(
        piece("", []), piece("a", [5]), piece("bc", [6, 7], "length"), USAGE, b"[DONE]"
    )
    assert list(answer.times) == [1.0, 2.0]
    assert list(answer.counts) == [1, 2]
    assert answer.num_tokens == 3
    assert answer.prompt_tokens == 7
    assert answer.done
    assert answer.finish_reason == "length"
    assert answer.digest.startswith("ids:")


def test_without_usage_pieces_count() -> None:
    answer = answered(piece("a"), piece("b"))
    assert answer.num_tokens == 2
    assert answer.prompt_tokens is None
    assert answer.digest.startswith("text:")


def test_chat_pieces() -> None:
    role = event(choices=[{"delta": {"role": "assistant", "content": ""}}])
    said = event(choices=[{"delta": {"content": "hi"}}])
    answer = answered(role, said, event(choices=[{"delta": {}, "finish_reason": "stop"}]))
    assert list(answer.times) == [1.0]
    assert answer.finish_reason == "stop"


def test_digests_tell_tokens_apart_and_not_pieces() -> None:
    assert answered(piece("ab", [5, 6])).digest == answered(piece("a", [5]), piece("b", [6])).digest
    assert answered(piece("a", [5])).digest != answered(piece("a", [6])).digest
    assert answered(piece("ab")).digest == answered(piece("a"), piece("b")).digest
    assert answered(piece("ab")).digest != answered(piece("ba")).digest


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b'"x"',
        event(error={"message": "engine failed"}),
        event(choices=[3]),
        event(choices=[{"text": 3}]),
        event(choices=[{"text": "a", "token_ids": [-1]}]),
        event(choices=[{"text": "a", "token_ids": [2**70]}]),
        event(choices=[{"text": "a", "token_ids": 3}]),
        event(choices=[], usage={"prompt_tokens": 1}),
        b"\xff\xfe",
    ],
)
def test_what_is_no_answer_is_told_in_a_line(data: bytes) -> None:
    with pytest.raises(StreamError) as raised:
        answered(data)
    assert "\n" not in str(raised.value)


def test_an_endless_answer_is_refused() -> None:
    with pytest.raises(StreamError, match="more than 18 pieces"):
        answered(*[piece("a")] * 20, asked=1)


@given(st.binary(max_size=200))
@settings(max_examples=60)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    reader, answer = EventReader(), Answer(4)
    try:
        for each in reader.feed(b"data: " + data + b"\n\n"):
            answer.take(each, 0.0)
    except StreamError:
        pass

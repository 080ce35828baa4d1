"""Frames survive being cut anywhere, and what is no frame is told at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.engine import frames
from plimsoll_runtime.engine.frames import MAX_FRAME_BYTES, FrameError, FrameReader, frame


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(1, 25), min_size=1))
def test_payloads_come_out_whole_and_in_order_however_they_are_cut(
    payloads: list[bytes], sizes: list[int]
) -> None:
    stream = b"".join(map(frame, payloads))
    reader = FrameReader()
    found: list[bytes] = []
    position = step = 0
    while position < len(stream):
        size = sizes[step % len(sizes)]
        found += reader.feed(stream[position : position + size])
        position, step = position + size, step + 1
    assert found == payloads
    assert not reader.partial


def test_a_frame_that_has_only_begun_is_partial() -> None:
    reader = FrameReader()
    assert not reader.partial
    data = frame(b"abc")
    for end in range(1, len(data)):
        assert reader.feed(data[end - 1 : end]) == []
        assert reader.partial
    assert reader.feed(data[-1:]) == [b"abc"]
    assert not reader.partial


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n", b"\xff" * 4, b"\x04\x00\x00\x01"])
def test_a_length_beyond_the_limit_is_refused_before_its_bytes_come(garbage: bytes) -> None:
    with pytest.raises(FrameError, match=r"claims .* bytes, the most is"):
        FrameReader().feed(garbage)


def test_the_longest_frame_passes_and_no_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 100)
    assert FrameReader().feed(frame(bytes(100))) == [bytes(100)]
    with pytest.raises(FrameError, match="a message of 101 bytes"):
        frame(bytes(101))


def test_the_limit_is_less_than_a_length_can_say() -> None:
    assert MAX_FRAME_BYTES < 2**32

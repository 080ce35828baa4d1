"""Messages between ranks arrive as they were sent, or the end is noticed."""

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.attention.metadata import SequenceSpan
from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.engine.options import EngineOptions
from plimsoll_runtime.engine.rank_channel import (
    Allocate,
    Allocated,
    Budget,
    Channel,
    Failed,
    Joining,
    Loaded,
    Measure,
    Message,
    Start,
    Step,
    frame,
    pair,
)

Ends = tuple[Channel, Channel, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Rank 0's end, the other rank's, and the latter's socket."""
    ours, sock = pair()
    with sock:
        yield ours, Channel(sock), sock
    ours.close()


@pytest.mark.parametrize(
    "message",
    [
        Start(2, "/models/x", EngineOptions(tensor_parallel_size=4, dtype="float32"), "cpu", 3),
        Start(
            1,
            "/models/x",
            EngineOptions(
                tensor_parallel_size=2,
                scheduling_policy=SchedulingPolicy.PRIORITY,
                tenant_weights={"gold": 2.5},
            ),
            "cuda",
            None,
        ),
        Joining(),
        Loaded(),
        Measure(),
        Budget(7 * 2**33),
        Allocate(4128),
        Allocated(),
        Failed("config.json is missing", bad_input=True),
    ],
)
def test_each_message_arrives_as_itself(ends: Ends, message: Message) -> None:
    ends[0].send(message)
    received = ends[1].receive()
    assert received == message
    assert type(received) is type(message)


IDS = st.lists(st.integers(0, 2**31), max_size=40)


@given(
    IDS, st.lists(st.tuples(st.integers(0, 2**20), st.integers(1, 9), IDS), max_size=9), IDS, IDS
)
def test_a_step_arrives_whole_however_it_is_cut(
    token_ids: list[int],
    spans: list[tuple[int, int, list[int]]],
    rows: list[int],
    targets: list[int],
) -> None:
    step = Step(token_ids, [SequenceSpan(*span) for span in spans], rows, targets)
    data = frame(step)
    ours, sock = pair()
    with sock:
        channel = Channel(sock)
        cut = len(data) // 3
        sender = threading.Thread(
            target=lambda: [ours.send_frame(part) for part in (data[:cut], data[cut:], data)]
        )
        sender.start()
        first, second = channel.receive(), channel.receive()
        sender.join()
    ours.close()
    assert first == second == step
    assert all(isinstance(span, SequenceSpan) for span in first.spans)


def test_a_message_may_be_larger_than_the_sockets_buffer(ends: Ends) -> None:
    step = Step(list(range(10**6)), [], [], [])
    sender = threading.Thread(target=ends[0].send, args=(step,))
    sender.start()
    assert ends[1].receive() == step
    sender.join()


@pytest.mark.parametrize("sent", [b"", b"\x05", frame(Budget(1))[:-1]])
def test_an_end_in_the_midst_of_a_message_is_an_end(ends: Ends, sent: bytes) -> None:
    ends[0].send_frame(sent)
    ends[0].shutdown()
    assert ends[1].receive() is None


def test_sending_to_nobody_is_an_error(ends: Ends) -> None:
    ends[2].close()
    with pytest.raises(BrokenPipeError):
        ends[0].send(Measure())
    assert ends[0].receive() is None


def test_what_is_no_message_is_refused(ends: Ends) -> None:
    ends[0].send_frame(b"\x01\x00\x00\x00\xc0")
    with pytest.raises(ValueError, match="Expected `object`"):
        ends[1].receive()

"""What rank 0 and another rank tell each other: msgpack messages over a Unix socket pair."""

import socket
import struct
from contextlib import suppress

import msgspec

from plimsoll_runtime.attention.metadata import SequenceSpan
from plimsoll_runtime.engine.options import EngineOptions

_LENGTH = struct.Struct("<I")
EXIT_LEFT_ALONE = 3
"""Exit code of a rank that missed another in a collective: the fault is not its own."""
SEND_SECONDS = 60.0
"""A rank that does not read for so long is lost."""


class Start(msgspec.Struct, tag=True, frozen=True):
    """To a new rank: what to load.

    `device` is `cpu` or `cuda`; `threads` are this rank's, on CPU.
    """

    rank: int
    folder: str
    options: EngineOptions
    device: str
    threads: int | None


class Joining(msgspec.Struct, tag=True, frozen=True):
    """From a rank that waits for the others to join."""


class Loaded(msgspec.Struct, tag=True, frozen=True):
    """From a rank that has its weights."""


class Measure(msgspec.Struct, tag=True, frozen=True):
    """To all ranks at once: find out what is left for the KV cache."""


class Budget(msgspec.Struct, tag=True, frozen=True):
    """From a rank: the bytes that its share of the KV cache may have."""

    available: int


class Allocate(msgspec.Struct, tag=True, frozen=True):
    """To all ranks: take the KV cache."""

    num_blocks: int


class Allocated(msgspec.Struct, tag=True, frozen=True):
    """From a rank that is ready for steps."""


class Step(msgspec.Struct, tag=True, frozen=True):
    """To all ranks: run the model once; there is no answer.

    `token_ids` of all sequences one after the other, `spans` says which are whose. Logits are
    wanted of the tokens at `sample_rows`, all at once, and then of those at `target_rows`, in
    `scoring.head_chunks`; gathering each is a collective.
    """

    token_ids: list[int]
    spans: list[SequenceSpan]
    sample_rows: list[int]
    target_rows: list[int]


class Failed(msgspec.Struct, tag=True, frozen=True):
    """From a rank that is about to end. `bad_input` where a person can do something about it."""

    error: str
    bad_input: bool


Message = Start | Joining | Loaded | Measure | Budget | Allocate | Allocated | Step | Failed


class Channel:
    """One end of a socket pair. One thread may send while another receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._decoder = msgspec.msgpack.Decoder(Message)

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Raises OSError when the other end is gone or does not read."""
        self.send_frame(frame(message))

    def send_frame(self, data: bytes) -> None:
        """Sends what `frame` made. Raises OSError as `send` does."""
        self._socket.sendall(data)

    def receive(self) -> Message | None:
        """The next message; None when the other end is gone."""
        head = self._exactly(_LENGTH.size)
        if head is None:
            return None
        body = self._exactly(_LENGTH.unpack(head)[0])
        return None if body is None else self._decoder.decode(body)

    def shutdown(self) -> None:
        """Tells the other end that this is over."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Frees the socket."""
        self._socket.close()

    def _exactly(self, count: int) -> bytearray | None:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            try:
                got = self._socket.recv_into(view)
            except ConnectionError:
                return None
            if not got:
                return None
            view = view[got:]
        return data


def pair() -> tuple[Channel, socket.socket]:
    """Rank 0's end, and the socket for the other rank."""
    ours, theirs = socket.socketpair()
    # Of sending; receiving waits in `select` first.
    ours.settimeout(SEND_SECONDS)
    return Channel(ours), theirs


def frame(message: Message) -> bytes:
    """A message as it goes over the wire: its length, then msgpack."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body

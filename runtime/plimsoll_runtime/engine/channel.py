"""One end of the socket between server and engine."""

import socket
import threading
from collections import deque

from plimsoll_runtime.engine.frames import FrameError, FrameReader
from plimsoll_runtime.engine.messages import FromEngine, ToEngine, encode

READ_BYTES = 256 * 1024


class Channel:
    """Sends from any thread, receives on one."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._frames = FrameReader()
        # Always the same: room made for each read, mostly to be cut to a few hundred bytes, leaves
        # holes in the heap that the next does not fit in, and the process grows.
        self._room = memoryview(bytearray(READ_BYTES))
        self._arrived: deque[bytes] = deque()
        self._sending = threading.Lock()

    def send(self, message: ToEngine | FromEngine) -> None:
        """Waits until the socket has taken the message.

        Raises MessageError or FrameError for a message that cannot be sent, before a byte of it
        is, and OSError when the other end is gone.
        """
        data = encode(message)
        with self._sending:
            self.socket.sendall(data)

    def receive(self) -> bytes | None:
        """The next payload; waits for it. None when the other end has closed.

        Raises FrameError when the stream is none of frames, OSError when the connection breaks.
        """
        while not self._arrived:
            if not self.read():
                return None
        return self._arrived.popleft()

    def read(self) -> bool:
        """Reads once from the socket; False when the other end has closed.

        Raises FrameError when the stream is none of frames, OSError when the connection breaks,
        and of these BlockingIOError when a socket that does not wait has nothing.
        """
        count = self.socket.recv_into(self._room)
        if count:
            self._arrived.extend(self._frames.feed(self._room[:count]))
        elif self._frames.partial:
            raise FrameError("the stream ended inside a message")
        return bool(count)

    def arrived(self) -> list[bytes]:
        """Takes the payloads that have been read already."""
        payloads = list(self._arrived)
        self._arrived.clear()
        return payloads

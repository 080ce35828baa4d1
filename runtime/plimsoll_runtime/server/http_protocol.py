"""uvicorn's HTTP protocol with bounds on a request's head, which the parser has none for."""

import asyncio
import fcntl
import termios
from array import array
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
HEAD_PIECE = 4096
HEAD_TIMEOUT = 30.0
"""Seconds from a connection's or request's first sign to the end of its headers."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Answers 431 to a head over MAX_HEAD_BYTES and 408 to one that trickles."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    @property
    def in_head(self) -> bool:
        """Whether a request is to come, its first or one whose head has begun."""
        return self._head_timer is not None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """asyncio.Protocol."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio.Protocol."""
        self._stop_timer()
        # uvicorn leaves this to its end where the client reset the connection: all of it, for 75 s.
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Ends the connection, after its answer if a request is under way or lies unread."""
        idle = self.cycle is None or self.cycle.response_complete
        head_begun = self.in_head and (self.cycle is not None or self._head_bytes > 0)
        if not idle or not (head_begun or self._unread()):
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """asyncio.Protocol."""
        # In pieces: a head that comes all at once would be complete before it could be measured.
        start = 0
        while start < len(data) and not self.transport.is_closing():
            in_head = self._in_head
            piece = data[start : start + (HEAD_PIECE if in_head else MAX_HEAD_BYTES)]
            start += len(piece)
            super().data_received(piece)
            if in_head and self._in_head:
                self._head_bytes += len(piece)
                if self._head_bytes > MAX_HEAD_BYTES:
                    self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        self._start_timer()

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def _unread(self) -> bool:
        """Whether the kernel has bytes of the client that the loop has not come to read."""
        sock = self.transport.get_extra_info("socket")
        count = array("i", [0])
        try:
            fcntl.ioctl(sock.fileno(), termios.FIONREAD, count)
        except OSError:
            return False  # closed meanwhile
        return count[0] > 0

    def _start_timer(self) -> None:
        self._stop_timer()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self._refuse, b"408 Request Timeout")

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(
                b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
        self.transport.close()

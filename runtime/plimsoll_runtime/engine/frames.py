"""Messages on a byte stream: the length in four bytes, big-endian, and that many bytes."""

import struct

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""No message comes near. More is garbage, or a mistake that must not fill the memory."""

_LENGTH = struct.Struct(">I")


class FrameError(ValueError):
    """The stream holds what cannot be a frame, or a message is too long for one."""


def frame(payload: bytes) -> bytes:
    """`payload` with its length before it. Raises FrameError beyond MAX_FRAME_BYTES."""
    if len(payload) > MAX_FRAME_BYTES:
        raise FrameError(
            f"a message of {len(payload)} bytes; between server and engine at most "
            f"{MAX_FRAME_BYTES} fit"
        )
    return _LENGTH.pack(len(payload)) + payload


class FrameReader:
    """Cuts what arrives, in whatever pieces, into payloads."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def partial(self) -> bool:
        """Whether the stream would end inside a frame, if it ended here."""
        return bool(self._buffer)

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """Takes the next bytes; returns the payloads that are complete now.

        Raises FrameError at a length above MAX_FRAME_BYTES; the stream is of no use after that.
        """
        # Nearly always what comes is whole, and need not go through the buffer.
        buffer: bytearray | bytes | memoryview = data
        if self._buffer:
            self._buffer += data
            buffer = self._buffer
        payloads = []
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if length > MAX_FRAME_BYTES:
                raise FrameError(
                    f"a frame claims {length} bytes, the most is {MAX_FRAME_BYTES}: "
                    "the stream is not one of messages"
                )
            end = start + _LENGTH.size + length
            if len(buffer) < end:
                break
            payloads.append(bytes(buffer[start + _LENGTH.size : end]))
            start = end
        if buffer is data:
            self._buffer += data[start:]
        else:
            del self._buffer[:start]
        return payloads

"""What formats have in common whose calls are told by what is before them, not by an end. Pure."""

from abc import ABC, abstractmethod

from plimsoll_runtime.server.tool_calls.call_reader import CallReader
from plimsoll_runtime.server.tool_calls.pieces import CallArguments, CallEnd, Piece
from plimsoll_runtime.server.tool_calls.text_run import TextRun, partial


class CallRun(ABC):
    """A ToolCallParser that goes from text to a call and back, by one `_step` after the other.

    `_buffer` has not been read. `_source` has, and becomes a call or, when it is none, text.
    """

    def __init__(self) -> None:
        self._text = TextRun()
        self._buffer = ""
        self._source = ""
        self._call: CallReader | None = None

    def push(self, text: str) -> list[Piece]:
        """ToolCallParser."""
        self._buffer += text
        pieces: list[Piece] = []
        while self._buffer and self._step(pieces):
            pass
        return pieces

    def finish(self) -> list[Piece]:
        """ToolCallParser."""
        pieces: list[Piece] = []
        if self._call is not None and self._call.started:
            pieces.append(CallEnd(self._source))
            self._source = ""
        pieces += self._text.push(self._source + self._buffer)
        self._buffer = self._source = ""
        self._call = None
        return pieces + self._text.finish()

    @abstractmethod
    def _step(self, pieces: list[Piece]) -> bool:
        """Reads on in `_buffer`; False when that takes more text."""

    @abstractmethod
    def _after_call(self) -> None:
        """A call has ended."""

    @abstractmethod
    def _after_no_call(self) -> None:
        """What might have been a call is text."""

    def _read_text(self, marker: str, pieces: list[Piece]) -> bool:
        """Passes on what is before `marker`; whether that was found."""
        at = self._buffer.find(marker)
        end = at if at >= 0 else len(self._buffer) - partial(self._buffer, marker)
        pieces += self._text.push(self._buffer[:end])
        self._buffer = self._buffer[end:]
        return at >= 0

    def _read_call(self, call: CallReader, pieces: list[Piece]) -> bool:
        was_started = call.started
        if call.broken:  # its arguments go on to the answer's end
            found: list[Piece] = [CallArguments(self._buffer)]
            rest = ""
        else:
            found, rest = call.push(self._buffer)
        self._take(len(self._buffer) - len(rest))
        if call.started and not was_started:
            self._text.call()
        if call.failed:
            self._to_text(pieces)
            return True
        pieces += found
        if call.done or (call.broken and not call.arguments_open):
            pieces.append(CallEnd(self._source))
            self._source = ""
            self._call = None
            self._after_call()
        return True

    def _take(self, size: int) -> None:
        self._source += self._buffer[:size]
        self._buffer = self._buffer[size:]

    def _to_text(self, pieces: list[Piece]) -> None:
        pieces += self._text.push(self._source)
        self._source = ""
        self._call = None
        self._after_no_call()

"""Hermes' and Qwen's calls: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`. Pure."""

from plimsoll_runtime.server.tool_calls.call_reader import CallReader
from plimsoll_runtime.server.tool_calls.pieces import CallArguments, CallEnd, Piece
from plimsoll_runtime.server.tool_calls.text_run import TextRun, partial

OPEN = "<tool_call>"
CLOSE = "</tool_call>"


class HermesParser:
    """A call is between its tags; a closing tag that the model forgets is not missed."""

    def __init__(self) -> None:
        self._text = TextRun()
        self._buffer = ""
        self._call: CallReader | None = None
        self._source = ""

    def push(self, text: str) -> list[Piece]:
        """ToolCallParser."""
        self._buffer += text
        pieces: list[Piece] = []
        while self._step(pieces):
            pass
        return pieces

    def finish(self) -> list[Piece]:
        """ToolCallParser."""
        pieces: list[Piece] = []
        rest, self._buffer = self._buffer, ""
        if self._call is None:
            pieces += self._text.push(rest)
        elif self._call.started:
            if rest and self._call.arguments_open:
                pieces.append(CallArguments(rest))
            pieces.append(CallEnd(self._source + rest))
        else:
            pieces += self._text.push(self._source + rest)
        self._call = None
        return pieces + self._text.finish()

    def _step(self, pieces: list[Piece]) -> bool:
        """Moves on by one part; False when more text is needed."""
        if self._call is None:
            return self._read_text(pieces)
        if self._call.done or self._call.broken:
            return self._read_close(self._call, pieces)
        return bool(self._buffer) and self._read_call(self._call, pieces)

    def _read_text(self, pieces: list[Piece]) -> bool:
        at = self._buffer.find(OPEN)
        end = at if at >= 0 else len(self._buffer) - partial(self._buffer, OPEN)
        pieces += self._text.push(self._buffer[:end])
        self._buffer = self._buffer[end:]
        if at < 0:
            return False
        self._buffer = self._buffer[len(OPEN) :]
        self._source = OPEN
        self._call = CallReader()
        return True

    def _read_call(self, call: CallReader, pieces: list[Piece]) -> bool:
        was_started = call.started
        found, rest = call.push(self._buffer)
        self._source += self._buffer[: len(self._buffer) - len(rest)]
        self._buffer = rest
        if call.started and not was_started:
            self._text.call()
        if call.failed:
            self._call = None
            pieces += self._text.push(self._source)
            return True
        pieces += found
        return call.done or call.broken

    def _read_close(self, call: CallReader, pieces: list[Piece]) -> bool:
        if call.arguments_open:
            return self._read_broken(pieces)
        left = self._buffer.lstrip()
        if CLOSE.startswith(left) and left != CLOSE:
            return False
        closed = left.startswith(CLOSE)
        self._end(len(self._buffer) - len(left) + len(CLOSE) if closed else 0, pieces)
        return True

    def _read_broken(self, pieces: list[Piece]) -> bool:
        """Arguments that are no JSON go on to the closing tag."""
        at = self._buffer.find(CLOSE)
        end = at if at >= 0 else len(self._buffer) - partial(self._buffer, CLOSE)
        if end:
            pieces.append(CallArguments(self._buffer[:end]))
        if at < 0:
            self._source += self._buffer[:end]
            self._buffer = self._buffer[end:]
            return False
        self._end(at + len(CLOSE), pieces)
        return True

    def _end(self, size: int, pieces: list[Piece]) -> None:
        pieces.append(CallEnd(self._source + self._buffer[:size]))
        self._buffer = self._buffer[size:]
        self._call = None

"""Mistral's calls: `[TOOL_CALLS][{"name": …, "arguments": {…}}]` or `[TOOL_CALLS]NAME{…}`. Pure."""

import re

from plimsoll_runtime.server.tool_calls.call_reader import CallReader
from plimsoll_runtime.server.tool_calls.pieces import CallArguments, CallEnd, Piece
from plimsoll_runtime.server.tool_calls.text_run import TextRun, partial

MARKER = "[TOOL_CALLS]"
MAX_NAME = 256

_NAMED = re.compile(r"\s*([\w.\-]+)(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?\s*(?=\{)")


class MistralParser:
    """A list of calls after the marker, or a marker before each call's name."""

    def __init__(self) -> None:
        self._text = TextRun()
        self._buffer = ""
        self._marked = False
        self._listed = False
        self._listed_calls = 0
        self._call: CallReader | None = None
        self._source = ""

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

    def _step(self, pieces: list[Piece]) -> bool:
        if self._call is not None:
            return self._read_call(self._call, pieces)
        if self._listed:
            return self._read_list(pieces)
        if self._marked:
            return self._read_name(pieces)
        return self._read_text(pieces)

    def _read_text(self, pieces: list[Piece]) -> bool:
        at = self._buffer.find(MARKER)
        end = at if at >= 0 else len(self._buffer) - partial(self._buffer, MARKER)
        pieces += self._text.push(self._buffer[:end])
        self._buffer = self._buffer[end:]
        if at < 0:
            return False
        self._marked = True
        self._take(len(MARKER))
        return True

    def _read_name(self, pieces: list[Piece]) -> bool:
        left = self._buffer.lstrip()
        if not left:
            return False
        if left[0] == "[":
            self._listed = True
            self._listed_calls = 0
            self._take(len(self._buffer) - len(left) + 1)
            return True
        if "{" not in self._buffer[:MAX_NAME]:
            if len(self._buffer) < MAX_NAME:
                return False
            self._to_text(pieces)
            return True
        header = _NAMED.match(self._buffer)
        if header is None:
            self._to_text(pieces)
            return True
        self._take(header.end())
        self._call = CallReader(name=header[1])
        return True

    def _read_list(self, pieces: list[Piece]) -> bool:
        """Between the calls of a list."""
        left = self._buffer.lstrip()
        if not left:
            return False
        skipped = len(self._buffer) - len(left)
        if left[0] == "{":
            self._take(skipped)
            self._call = CallReader()
        elif left[0] == "," and self._listed_calls:
            self._take(skipped + 1)
        elif left[0] == "]" and self._listed_calls:
            self._buffer = left[1:]
            self._source = ""
            self._marked = self._listed = False
        else:
            self._to_text(pieces)
        return True

    def _read_call(self, call: CallReader, pieces: list[Piece]) -> bool:
        was_started = call.started
        if call.broken:
            found: list[Piece] = [CallArguments(self._buffer)]
            rest = ""
        else:
            found, rest = call.push(self._buffer)
        self._take(len(self._buffer) - len(rest))
        if call.started and not was_started:
            self._text.call()
            self._listed_calls += 1
        if call.failed:
            self._to_text(pieces)
            return True
        pieces += found
        if call.done or (call.broken and not call.arguments_open):
            pieces.append(CallEnd(self._source))
            self._source = ""
            self._call = None
            self._marked = self._listed
        return True

    def _take(self, size: int) -> None:
        self._source += self._buffer[:size]
        self._buffer = self._buffer[size:]

    def _to_text(self, pieces: list[Piece]) -> None:
        """No call after all."""
        pieces += self._text.push(self._source)
        self._source = ""
        self._call = None
        self._marked = self._listed = False

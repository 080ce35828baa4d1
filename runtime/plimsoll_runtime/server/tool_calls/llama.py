"""Llama 3's calls: `{"name": …, "parameters": {…}}`, perhaps after `<|python_tag|>`. Pure."""

from collections.abc import Collection

from plimsoll_runtime.server.tool_calls.call_reader import CallReader
from plimsoll_runtime.server.tool_calls.pieces import CallArguments, CallEnd, Piece
from plimsoll_runtime.server.tool_calls.text_run import TextRun, partial

TAG = "<|python_tag|>"
SEPARATORS = ";,"


class LlamaParser:
    """Calls stand at the answer's begin or after the tag, and follow each other.

    JSON in an answer may be just that, so without the tag only a call of one of `functions` is one.
    """

    def __init__(self, functions: Collection[str]) -> None:
        self._functions = functions
        self._text = TextRun()
        self._buffer = ""
        self._call: CallReader | None = None
        self._may_begin = True
        self._tagged = False
        self._before = ""
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
        rest, self._buffer = self._buffer, ""
        if self._call is not None and self._call.started:
            pieces.append(CallEnd(self._source))
        elif self._call is not None:
            pieces += self._text.push(self._source)
        pieces += self._text.push(self._before + rest)
        self._call, self._before = None, ""
        return pieces + self._text.finish()

    def _step(self, pieces: list[Piece]) -> bool:
        if self._call is not None:
            return self._read_call(self._call, pieces)
        if self._may_begin:
            return self._read_begin(pieces)
        return self._read_text(pieces)

    def _read_begin(self, pieces: list[Piece]) -> bool:
        """At a place where a call may begin: whitespace, a separator after a call, the tag."""
        left = self._buffer.lstrip()
        skipped = len(self._buffer) - len(left)
        self._before += self._buffer[:skipped]
        self._buffer = left
        if not left:
            return False
        if left.startswith(TAG) and not self._tagged:
            self._before += TAG
            self._buffer = left[len(TAG) :]
            self._tagged = True
            return True
        if TAG.startswith(left):
            return False
        if left[0] in SEPARATORS and self._text.calls and not self._before.strip():
            self._before += left[0]
            self._buffer = left[1:]
            return True
        if left[0] == "{":
            functions = self._functions
            self._call = CallReader() if self._tagged else CallReader(functions.__contains__)
            self._source, self._before = self._before, ""
            return True
        self._to_text(pieces, self._before)
        return True

    def _read_text(self, pieces: list[Piece]) -> bool:
        at = self._buffer.find(TAG)
        end = at if at >= 0 else len(self._buffer) - partial(self._buffer, TAG)
        pieces += self._text.push(self._buffer[:end])
        self._buffer = self._buffer[end:]
        self._may_begin = at >= 0
        return at >= 0

    def _read_call(self, call: CallReader, pieces: list[Piece]) -> bool:
        was_started = call.started
        if call.broken:
            found: list[Piece] = [CallArguments(self._buffer)] if call.arguments_open else []
            rest = ""
        else:
            found, rest = call.push(self._buffer)
        self._source += self._buffer[: len(self._buffer) - len(rest)]
        self._buffer = rest
        if call.started and not was_started:
            self._text.call()
        if call.failed:
            self._to_text(pieces, self._source)
            return True
        pieces += found
        if call.done or (call.broken and not call.arguments_open):
            pieces.append(CallEnd(self._source))
            self._call, self._tagged = None, False
        return True

    def _to_text(self, pieces: list[Piece], text: str) -> None:
        pieces += self._text.push(text)
        self._call, self._before = None, ""
        self._may_begin = self._tagged = False

"""Llama 3's calls: `{"name": …, "parameters": {…}}`, perhaps after `<|python_tag|>`. Pure."""

from collections.abc import Collection

from plimsoll_runtime.server.tool_calls.call_reader import CallReader
from plimsoll_runtime.server.tool_calls.call_run import CallRun
from plimsoll_runtime.server.tool_calls.pieces import Piece

TAG = "<|python_tag|>"
SEPARATORS = ";,"


class LlamaParser(CallRun):
    """Calls stand at the answer's begin or after the tag, and follow each other.

    JSON in an answer may be just that, so without the tag only a call of one of `functions` is one.
    """

    def __init__(self, functions: Collection[str]) -> None:
        super().__init__()
        self._functions = functions
        self._may_begin = True
        self._tagged = False

    def _step(self, pieces: list[Piece]) -> bool:
        if self._call is not None:
            return self._read_call(self._call, pieces)
        if self._may_begin:
            return self._read_begin(pieces)
        self._may_begin = self._read_text(TAG, pieces)
        return self._may_begin

    def _read_begin(self, pieces: list[Piece]) -> bool:
        """At a place where a call may begin: whitespace, a separator after a call, the tag."""
        self._take(len(self._buffer) - len(self._buffer.lstrip()))
        left = self._buffer
        if not left:
            return False
        if left.startswith(TAG) and not self._tagged:
            self._take(len(TAG))
            self._tagged = True
            return True
        if TAG.startswith(left):
            return False
        if left[0] in SEPARATORS and self._text.calls and not self._source.strip():
            self._take(1)
            return True
        if left[0] == "{":
            functions = self._functions
            self._call = CallReader() if self._tagged else CallReader(functions.__contains__)
            return True
        self._to_text(pieces)
        return True

    def _after_call(self) -> None:
        self._tagged = False

    def _after_no_call(self) -> None:
        self._may_begin = self._tagged = False

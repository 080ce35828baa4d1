"""Mistral's calls: `[TOOL_CALLS][{"name": …, "arguments": {…}}]` or `[TOOL_CALLS]NAME{…}`. Pure."""

import re

from plimsoll_runtime.server.tool_calls.call_reader import CallReader
from plimsoll_runtime.server.tool_calls.call_run import CallRun
from plimsoll_runtime.server.tool_calls.pieces import Piece

MARKER = "[TOOL_CALLS]"
MAX_NAME = 256

_NAMED = re.compile(r"\s*([\w.\-]+)(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?\s*(?=\{)")


class MistralParser(CallRun):
    """A list of calls after the marker, or a marker before each call's name."""

    def __init__(self) -> None:
        super().__init__()
        self._marked = False
        self._listed = False
        self._calls_before_list = 0

    def _step(self, pieces: list[Piece]) -> bool:
        if self._call is not None:
            return self._read_call(self._call, pieces)
        if self._listed:
            return self._read_list(pieces)
        if self._marked:
            return self._read_name(pieces)
        self._marked = self._read_text(MARKER, pieces)
        if self._marked:
            self._take(len(MARKER))
        return self._marked

    def _read_name(self, pieces: list[Piece]) -> bool:
        left = self._buffer.lstrip()
        if not left:
            return False
        if left[0] == "[":
            self._listed = True
            self._calls_before_list = self._text.calls
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
        begun = self._text.calls > self._calls_before_list
        if left[0] == "{":
            self._take(skipped)
            self._call = CallReader()
        elif left[0] == "," and begun:
            self._take(skipped + 1)
        elif left[0] == "]" and begun:
            self._buffer = left[1:]
            self._source = ""
            self._marked = self._listed = False
        else:
            self._to_text(pieces)
        return True

    def _after_call(self) -> None:
        self._marked = self._listed

    def _after_no_call(self) -> None:
        self._marked = self._listed = False

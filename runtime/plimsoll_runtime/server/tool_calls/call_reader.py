"""Reads one call, `{"name": …, "arguments": {…}}`, from text that comes in pieces. Pure."""

import json
import re
from collections.abc import Callable
from typing import NoReturn, TypeGuard

from plimsoll_runtime.server.tool_calls.json_extent import JsonExtent
from plimsoll_runtime.server.tool_calls.pieces import CallArguments, CallStart, Piece

MAX_HEADER = 1024
"""Characters within which a call must have named its function for its arguments to be streamed."""

_HEADER = re.compile(
    r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)+")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
)


def anything(_: str) -> bool:
    """Every name is a function's."""
    return True


class CallReader:
    """Hands on a call's arguments as they come, and finds its end.

    `started` once the function is known and its arguments have begun; `done` at the object's end;
    `broken` where the text cannot go on as JSON, or cannot be a call of a function that `is_known`.
    After either of them nothing more is read. Where name and arguments come in another order or
    form they are known at the object's end only, and are handed on whole.

    With `name` the text is the object of the arguments alone.
    """

    def __init__(self, is_known: Callable[[str], bool] = anything, name: str | None = None) -> None:
        self.started = False
        self.done = False
        self.broken = False
        self.raw = ""
        self._is_known = is_known
        self._name = name
        self._extent = JsonExtent()
        self._begin: int | None = None
        self._end: int | None = None
        self._closed_at: list[int] = []

    @property
    def failed(self) -> bool:
        """Whether what was read is no call at all."""
        return (self.broken or self.done) and not self.started

    @property
    def arguments_open(self) -> bool:
        """Whether arguments have begun and not ended."""
        return self.started and self._end is None

    def push(self, text: str) -> tuple[list[Piece], str]:
        """Takes text; gives what was found, and the text that is no longer part of the call."""
        before = len(self.raw)
        taken = 0
        for char in text:
            depth = self._extent.depth
            if not self._extent.take(char):
                self.broken = True
                break
            taken += 1
            if self._extent.depth < depth == self._argument_depth:
                self._closed_at.append(before + taken)
            if self._extent.ended:
                self.done = True
                break
        self.raw += text[:taken]
        return self._found(before), text[taken:]

    @property
    def _argument_depth(self) -> int:
        return 2 if self._name is None else 1

    def _found(self, sent: int) -> list[Piece]:
        pieces: list[Piece] = []
        if not self.started:
            sent = self._start(pieces)
        if self._begin is None or self._end is not None:
            return pieces
        self._end = next((each for each in self._closed_at if each > self._begin), None)
        text = self.raw[sent : self._end]
        if text:
            pieces.append(CallArguments(text))
        return pieces

    def _start(self, pieces: list[Piece]) -> int:
        """Begins the call if it is clear by now; where its arguments are."""
        if self._name is not None:
            if "{" in self.raw:
                self._begin_at(self.raw.index("{"), self._name, pieces)
        elif header := _HEADER.match(self.raw[:MAX_HEADER]):
            self._begin_at(header.end(), _loads(header[1]), pieces)
        elif self.done:
            self._whole(pieces)
        return self._begin or 0

    def _begin_at(self, position: int, name: object, pieces: list[Piece]) -> None:
        if not _is_name(name) or not self._is_known(name):
            self.broken = True
            return
        self.started = True
        self._begin = position
        pieces.append(CallStart(name))

    def _whole(self, pieces: list[Piece]) -> None:
        call = _loads(self.raw)
        if not isinstance(call, dict):
            return
        name = call.get("name")
        arguments = call.get("arguments", call.get("parameters", {}))
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        if _is_name(name) and self._is_known(name) and is_object(text):
            self.started = True
            self._end = len(self.raw)
            pieces += [CallStart(name), CallArguments(text)]


def is_object(text: str) -> bool:
    """Whether `text` is a JSON object that every client can read."""
    return isinstance(_loads(text), dict) and _is_unicode(text)


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and _is_unicode(value)


def _is_unicode(text: str) -> bool:
    """Escapes in JSON can spell half a surrogate pair, which no answer can carry."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _loads(text: str) -> object:
    """The JSON in `text`; None where it is none."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)

"""Where a JSON object ends in text that comes character by character. Pure."""

import re

_OUTSIDE_STRINGS = re.compile(r'[\s\w,:"+.\-]', re.ASCII)
_OPENED_BY = {"}": "{", "]": "["}


class JsonExtent:
    """Follows brackets and strings; whether it is JSON in detail is for a parser to say.

    `depth` is how many objects and lists are open; `ended` once the outermost has closed.
    """

    def __init__(self) -> None:
        self.ended = False
        self._open: list[str] = []
        self._in_string = False
        self._escaped = False

    @property
    def depth(self) -> int:
        """Objects and lists that are open."""
        return len(self._open)

    def take(self, char: str) -> bool:
        """Moves over one character; False where it cannot stand in a JSON object."""
        if self._in_string:
            self._take_in_string(char)
            return True
        if char == "{" or (char == "[" and self._open):
            self._open.append(char)
            return True
        if not self._open:
            return char.isspace() and not self.ended
        if char in "}]":
            if self._open.pop() != _OPENED_BY[char]:
                return False
            self.ended = not self._open
            return True
        self._in_string = char == '"'
        return _OUTSIDE_STRINGS.match(char) is not None

    def _take_in_string(self, char: str) -> None:
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == '"':
            self._in_string = False

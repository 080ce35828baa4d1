"""The text around calls."""

from plimsoll_runtime.server.tool_calls.pieces import Piece, Text


class TextRun:
    """Passes text on, without the whitespace that only separates calls from each other."""

    def __init__(self) -> None:
        self._held = ""
        self._begun = False
        self.calls = 0

    def push(self, text: str) -> list[Piece]:
        """Whitespace before the first word waits for the word."""
        if not self._begun:
            text = self._held + text
            self._begun = not text.isspace() and bool(text)
            self._held = "" if self._begun else text
        return [Text(text)] if self._begun and text else []

    def call(self) -> None:
        """A call begins here."""
        self._held = ""
        self._begun = False
        self.calls += 1

    def finish(self) -> list[Piece]:
        """An answer that is whitespace alone stays what it is."""
        return [Text(self._held)] if self._held and not self.calls else []


def partial(text: str, marker: str) -> int:
    """Length of the longest end of `text` that `marker` begins with, short of all of it."""
    for size in range(min(len(marker) - 1, len(text)), 0, -1):
        if marker.startswith(text[-size:]):
            return size
    return 0

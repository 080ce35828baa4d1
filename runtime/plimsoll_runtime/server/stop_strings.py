"""Stop strings over text that arrives in pieces. Pure."""

from collections.abc import Sequence
from typing import NamedTuple


class StopResult(NamedTuple):
    """`text` may go to the client; `matched` is the stop string that ended the sequence."""

    text: str
    matched: str | None = None


class StopMatcher:
    """Finds the stop string that is completed first and holds back what may become one.

    The result does not depend on how the text was cut into pieces: of all occurrences the one that
    ends first wins, and of those that end together the longest.
    """

    def __init__(self, stops: Sequence[str], include: bool = False) -> None:
        self._stops = tuple(stops)
        self._include = include
        self._held = ""

    def push(self, text: str) -> StopResult:
        """Takes the next piece; returns what can no longer be part of a stop string."""
        if not self._stops:
            return StopResult(text)
        buffer = self._held + text
        found = self._find(buffer)
        if found is not None:
            start, stop = found
            self._held = ""
            end = start + len(stop) if self._include else start
            return StopResult(buffer[:end], stop)
        keep = self._partial(buffer)
        self._held = buffer[len(buffer) - keep :]
        return StopResult(buffer[: len(buffer) - keep])

    def flush(self) -> str:
        """What was held back, when the sequence ends without a stop string."""
        held, self._held = self._held, ""
        return held

    def _find(self, buffer: str) -> tuple[int, str] | None:
        best: tuple[int, int, str] | None = None
        for stop in self._stops:
            start = buffer.find(stop)
            if start >= 0:
                key = (start + len(stop), start, stop)
                best = key if best is None else min(best, key)
        return None if best is None else (best[1], best[2])

    def _partial(self, buffer: str) -> int:
        """Length of the longest end of `buffer` that begins a stop string."""
        longest = max(len(stop) for stop in self._stops) - 1
        for size in range(min(longest, len(buffer)), 0, -1):
            tail = buffer[-size:]
            if any(stop.startswith(tail) for stop in self._stops):
                return size
        return 0

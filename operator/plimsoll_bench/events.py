"""Server-sent events out of a byte stream, and what they say of an answer."""

import hashlib
import json
from array import array
from collections.abc import Iterator
from typing import Any

LONGEST_EVENT = 4 * 2**20
DONE = b"[DONE]"


class StreamError(Exception):
    """The answer cannot be read, or the server says that it failed; one line."""


class EventReader:
    """Splits a stream into the data of its events, holding at most one of them."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of events that are now whole. Raises StreamError for an endless one."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > LONGEST_EVENT:
            raise StreamError(f"an event of more than {LONGEST_EVENT} bytes")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


class Answer:
    """An answer as it comes: when each token did, how many there were, and a digest of them.

    `times` are those of the pieces, `counts` the tokens in each; a server that does not tell sends
    one in each piece. No more than twice the tokens that were asked for are kept.
    """

    def __init__(self, output_tokens: int) -> None:
        self.times = array("d")
        self.counts = array("l")
        self.prompt_tokens: int | None = None
        self.output_tokens: int | None = None
        self.finish_reason = ""
        self.done = False
        self._most = 2 * output_tokens + 16
        self._ids, self._text = hashlib.sha256(), hashlib.sha256()
        self._has_ids = False

    @property
    def digest(self) -> str:
        """Of the token ids (`ids:`) where the server tells them, else of the text."""
        kind, found = ("ids", self._ids) if self._has_ids else ("text", self._text)
        return f"{kind}:{found.hexdigest()[:16]}"

    @property
    def num_tokens(self) -> int:
        """By the server's own count, else by the pieces."""
        return sum(self.counts) if self.output_tokens is None else self.output_tokens

    def take(self, data: bytes, now: float) -> None:
        """Takes the data of an event that came at `now`. Raises StreamError."""
        if data == DONE:
            self.done = True
            return
        try:
            event = json.loads(data)
        except ValueError as error:
            raise StreamError(f"an event that is no JSON: {data[:100]!r}") from error
        if not isinstance(event, dict):
            raise StreamError(f"an event that is no object: {data[:100]!r}")
        if event.get("error"):
            raise StreamError(str(event["error"])[:200])
        try:
            self._usage(event.get("usage"))
            for choice in event.get("choices") or ():
                self._choice(choice, now)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise StreamError(f"an event that is none of OpenAI's: {data[:100]!r}") from error

    def _usage(self, usage: Any) -> None:
        if usage:
            self.prompt_tokens = int(usage["prompt_tokens"])
            self.output_tokens = int(usage["completion_tokens"])

    def _choice(self, choice: dict[str, Any], now: float) -> None:
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        text = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
        ids = choice.get("token_ids") or ()
        if not text and not ids:
            return
        if len(self.times) >= self._most:
            raise StreamError(f"more than {self._most} pieces")
        self.times.append(now)
        self.counts.append(len(ids) or 1)
        self._text.update(text.encode("utf-8", "surrogatepass"))
        if ids:
            self._has_ids = True
            self._ids.update(b"".join(int(each).to_bytes(8, "little") for each in ids))

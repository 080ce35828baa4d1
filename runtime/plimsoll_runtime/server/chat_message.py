"""The assistant's message in a chat answer, whole or growing."""

from typing import Protocol

from plimsoll_runtime.server.answers import Choice, Json
from plimsoll_runtime.server.sequence import Delta


class MessageForm(Protocol):
    """What a choice's text means. One object for each answer."""

    def message(self, choice: Choice) -> Json:
        """OpenAI's message of a choice that has ended."""

    def delta(self, delta: Delta) -> Json:
        """What `delta` adds to its choice's message, if anything."""

    def finish_reason(self, delta: Delta, content: Json) -> str | None:
        """Why the choice ended, if it did; `content` is its message, or its last delta."""


class PlainMessage:
    """All text is content."""

    def message(self, choice: Choice) -> Json:
        """MessageForm."""
        return {"role": "assistant", "content": "".join(choice.text), "refusal": None}

    def delta(self, delta: Delta) -> Json:
        """MessageForm."""
        return {"content": delta.text} if delta.text else {}

    def finish_reason(self, delta: Delta, content: Json) -> str | None:  # noqa: ARG002
        """MessageForm."""
        return delta.finish_reason

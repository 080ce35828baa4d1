"""What a parser finds in a model's text: text, and calls piece by piece."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Text:
    """Text for the user."""

    text: str


@dataclass(frozen=True)
class CallStart:
    """A call begins. Until its CallEnd, arguments are its own."""

    name: str


@dataclass(frozen=True)
class CallArguments:
    """More of the call's arguments, as the model writes them."""

    text: str


@dataclass(frozen=True)
class CallEnd:
    """The call is over, whole or not; `source` is all that the model wrote for it."""

    source: str


Piece = Text | CallStart | CallArguments | CallEnd


class ToolCallParser(Protocol):
    """Reads one answer. What is found does not depend on how the text is cut into pushes, but for
    where neighbouring Text or CallArguments are divided."""

    def push(self, text: str) -> list[Piece]:
        """Takes more of the answer; what may become a call is held back until that is clear."""

    def finish(self) -> list[Piece]:
        """What was held back, when the answer has ended."""

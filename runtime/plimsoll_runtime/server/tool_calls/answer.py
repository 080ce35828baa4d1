"""A whole answer, read for calls."""

from collections.abc import Iterable
from dataclasses import dataclass

from plimsoll_runtime.server.tool_calls.call_reader import is_object
from plimsoll_runtime.server.tool_calls.pieces import (
    CallArguments,
    CallEnd,
    CallStart,
    Piece,
    Text,
)


@dataclass(frozen=True)
class Call:
    """A call of the function `name`; `arguments` is a JSON object, as the model wrote it."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Answer:
    """The text around the calls, and the calls."""

    content: str
    calls: tuple[Call, ...]


def assemble(pieces: Iterable[Piece]) -> Answer:
    """Puts an answer's pieces together; a call whose arguments are no JSON object is text."""
    content: list[str] = []
    calls: list[Call] = []
    name = ""
    arguments: list[str] = []
    for piece in pieces:
        match piece:
            case Text():
                content.append(piece.text)
            case CallStart():
                name, arguments = piece.name, []
            case CallArguments():
                arguments.append(piece.text)
            case CallEnd():
                text = "".join(arguments)
                if is_object(text):
                    calls.append(Call(name, text))
                else:
                    content.append(piece.source)
    return Answer("".join(content), tuple(calls))

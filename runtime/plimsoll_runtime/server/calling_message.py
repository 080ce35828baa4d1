"""The assistant's message where it may call tools."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass

from plimsoll_runtime.core.request import FinishReason
from plimsoll_runtime.server.answers import Choice, Json
from plimsoll_runtime.server.sequence import Delta
from plimsoll_runtime.server.tool_calls.answer import assemble
from plimsoll_runtime.server.tool_calls.formats import ToolCallFormat
from plimsoll_runtime.server.tool_calls.pieces import (
    CallArguments,
    CallStart,
    Piece,
    Text,
    ToolCallParser,
)

TOOL_CALLS = "tool_calls"


@dataclass(frozen=True)
class Calling:
    """How the model writes calls of `functions`; without `parallel` an answer has one at most.

    `named` when the client named the function that is called: an answer then ends with `stop`, as
    OpenAI has it, since that it is a call is no news.
    """

    form: ToolCallFormat
    functions: Collection[str]
    parallel: bool = True
    named: bool = False

    def parser(self) -> ToolCallParser:
        """A parser for one answer."""
        return self.form.parser(self.functions)

    def new_id(self) -> str:
        """An id for a call."""
        return self.form.id_prefix + secrets.token_hex(self.form.id_digits)[: self.form.id_digits]


@dataclass
class _Stream:
    """One streamed choice; `calls` have begun so far."""

    parser: ToolCallParser
    calls: int = 0


class CallingMessage:
    """A message whose text is read for calls.

    An answer that comes whole keeps as content what is no valid call. In a stream a call is told
    as soon as its arguments begin, so arguments that turn out to be no JSON have been sent as such.
    """

    def __init__(self, calling: Calling) -> None:
        self._calling = calling
        self._streams: dict[int, _Stream] = {}

    def message(self, choice: Choice) -> Json:
        """MessageForm. No content is null where there are calls."""
        parser = self._calling.parser()
        answer = assemble([*parser.push("".join(choice.text)), *parser.finish()])
        calls = answer.calls if self._calling.parallel else answer.calls[:1]
        if not calls:
            return {"role": "assistant", "content": answer.content, "refusal": None}
        return {
            "role": "assistant",
            "content": answer.content or None,
            "refusal": None,
            TOOL_CALLS: [
                {
                    "id": self._calling.new_id(),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in calls
            ],
        }

    def delta(self, delta: Delta) -> Json:
        """MessageForm."""
        stream = self._streams.setdefault(delta.choice, _Stream(self._calling.parser()))
        pieces = stream.parser.push(delta.text)
        if delta.finish_reason is not None:
            pieces += stream.parser.finish()
        return _merged(pieces, stream, self._calling)

    def finish_reason(self, delta: Delta, content: Json) -> str | None:
        """MessageForm."""
        if delta.finish_reason is not FinishReason.STOP or self._calling.named:
            return delta.finish_reason
        stream = self._streams.get(delta.choice)
        called = content.get(TOOL_CALLS) or (stream is not None and stream.calls)
        return TOOL_CALLS if called else delta.finish_reason


def _merged(pieces: list[Piece], stream: _Stream, calling: Calling) -> Json:
    """OpenAI's delta of `pieces`: one entry for each call that they tell of."""
    content = "".join(piece.text for piece in pieces if isinstance(piece, Text))
    calls: dict[int, Json] = {}
    for piece in pieces:
        if isinstance(piece, CallStart):
            calls[stream.calls] = {
                "index": stream.calls,
                "id": calling.new_id(),
                "type": "function",
                "function": {"name": piece.name, "arguments": ""},
            }
            stream.calls += 1
        elif isinstance(piece, CallArguments):
            index = stream.calls - 1
            entry = calls.setdefault(index, {"index": index, "function": {"arguments": ""}})
            entry["function"]["arguments"] += piece.text
    told = [call for index, call in calls.items() if calling.parallel or index == 0]
    return ({"content": content} if content else {}) | ({TOOL_CALLS: told} if told else {})

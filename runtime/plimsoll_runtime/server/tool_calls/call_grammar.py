"""A grammar of answers that are calls, for llguidance. Pure."""

import json
import re
from collections.abc import Mapping
from typing import Any

from plimsoll_runtime.server.tool_calls.call_shapes import CALL_ID, NAME, CallShape

MAX_FORCED = 128
"""Calls in one forced answer: more than any model means."""

_ID = "/[a-zA-Z0-9]{9}/"


def call_grammar(
    shape: CallShape,
    functions: Mapping[str, str],
    tokens: Mapping[str, int],
    *,
    several: bool,
) -> str:
    """Exactly one call of one of `functions`, or up to `MAX_FORCED` where `several` may come.

    `functions` are JSON grammars of the arguments by name. `tokens` are the markers that the
    tokenizer added as tokens of their own, special or not: the model learnt the token and not its
    letters, so that is what the grammar asks for. Other markers are text.
    """

    def spelled(text: str) -> str:
        return _spelled(text, tokens)

    named: list[dict[str, Any]] = []
    calls = []
    for index, (name, arguments) in enumerate(functions.items()):
        (grammar,) = json.loads(arguments)["grammars"]
        named.append({**grammar, "name": f"arguments{index}"})
        before = spelled(shape.before_arguments.replace(NAME, name))
        calls.append(f"{before} @arguments{index} {spelled(shape.after_arguments)}")
    more = f"(({spelled(shape.separator)} call){{0,{MAX_FORCED - 1}}})" if several else ""
    lines = [
        f"start: {spelled(shape.begin)} call {more} {spelled(shape.end)}",
        "call: " + "\n  | ".join(calls),
    ]
    return json.dumps({"grammars": [{"lark_grammar": "\n".join(lines)}, *named]})


def _spelled(text: str, tokens: Mapping[str, int]) -> str:
    """`text` in Lark's syntax, whose strings are JSON's."""
    parts = []
    for part in re.split(f"({'|'.join(map(re.escape, [*tokens, CALL_ID]))})", text):
        if part in tokens:
            parts.append(f"<[{tokens[part]}]>")
        elif part:
            parts.append(json.dumps(part))
        if part == CALL_ID:
            parts.append(_ID)
    return " ".join(parts)

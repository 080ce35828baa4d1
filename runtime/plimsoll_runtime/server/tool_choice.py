"""`tool_choice`: whether the model may call, and whether it must."""

from collections.abc import Sequence
from dataclasses import dataclass

from plimsoll_runtime.server.errors import APIError, bad_request, shown
from plimsoll_runtime.server.tools import Tool

TOOL_CHOICE_SCHEMA = {
    "anyOf": [
        {"type": "string", "enum": ["none", "auto", "required"]},
        {
            "type": "object",
            "properties": {
                "type": {"const": "function"},
                "function": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}},
                    "required": ["name"],
                },
            },
            "required": ["type", "function"],
        },
        {"type": "null"},
    ],
    "description": "`required`: the answer is a call; a named function: one call of it.",
}


@dataclass(frozen=True)
class ToolChoice:
    """The model may call `tools`, and must call one of `forced` where there are any.

    `named` when the client named the function: then the answer is one call of it.
    """

    tools: tuple[Tool, ...]
    forced: tuple[Tool, ...] = ()
    named: bool = False


def tool_choice_of(tools: Sequence[Tool] | None, tool_choice: object) -> ToolChoice:
    """What `tool_choice` says of `tools`.

    Raises APIError 400 where it is of no known shape, or forces a call of what there is not.
    """
    offered = tuple(tools or ())
    if tool_choice is None or tool_choice == "auto":
        return ToolChoice(offered)
    if tool_choice == "none":
        return ToolChoice(())
    if tool_choice == "required":
        if not offered:
            raise _bad("required takes tools: send the functions that may be called")
        return ToolChoice(offered, offered)
    if not isinstance(tool_choice, dict):
        raise _bad(
            f"must be none, auto, required or a named function, not {shown(tool_choice)}",
        )
    function = tool_choice.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if tool_choice.get("type") != "function" or not isinstance(name, str):
        raise _bad('an object must be {"type": "function", "function": {"name": …}}')
    forced = tuple(tool for tool in offered if tool.function.name == name)
    if not forced:
        raise _bad(f"names the function {shown(name)}, which is not among tools")
    return ToolChoice(offered, forced, named=True)


def _bad(problem: str) -> APIError:
    return bad_request(f"tool_choice: {problem}", param="tool_choice")

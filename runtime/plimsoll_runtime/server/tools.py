"""Tools that clients offer, and calls that they bring back in a conversation's history."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from plimsoll_runtime.server.errors import APIError
from plimsoll_runtime.server.json_body import parse_object

MAX_TOOLS = 128
MAX_CALLS = 128

FunctionName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
CalledName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
CallId = Annotated[str, StringConstraints(max_length=256)]


class Function(BaseModel):
    """A function that the model may call; `parameters` is a JSON schema.

    `strict` is accepted as a wish: arguments match the schema for sure in forced calls only.
    """

    model_config = ConfigDict(strict=True, extra="ignore")

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(BaseModel):
    """Functions are the only tools that there are."""

    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["function"]
    function: Function

    def for_template(self) -> dict[str, Any]:
        """The tool as chat templates expect it, without parameters as a function of none."""
        function: dict[str, Any] = {"name": self.function.name}
        if self.function.description is not None:
            function["description"] = self.function.description
        function["parameters"] = (
            {"type": "object", "properties": {}}
            if self.function.parameters is None
            else self.function.parameters
        )
        return {"type": "function", "function": function}


class CalledFunction(BaseModel):
    """What the model called; `arguments` is JSON as the model wrote it."""

    model_config = ConfigDict(strict=True, extra="ignore")

    name: CalledName
    arguments: str = ""


class ToolCall(BaseModel):
    """A call that an assistant's message made."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: CallId | None = None
    type: Literal["function"] = "function"
    function: CalledFunction

    def for_template(self) -> dict[str, Any]:
        """The call as chat templates expect it: arguments as an object, where they are one."""
        function = {"name": self.function.name, "arguments": _arguments(self.function.arguments)}
        return {"id": self.id or "", "type": "function", "function": function}


# Lists end at their first fault: one for each of a million items would take seconds to tell.
Tools = Annotated[list[Tool], Field(max_length=MAX_TOOLS, fail_fast=True)]
ToolCalls = Annotated[list[ToolCall], Field(max_length=MAX_CALLS, fail_fast=True)]


def _arguments(text: str) -> dict[str, Any] | str:
    """What a model wrote need not be JSON; then the template gets the text."""
    try:
        return parse_object(text.encode()) if text.strip() else {}
    except APIError:
        return text

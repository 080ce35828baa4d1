"""Calls that a client forces: the grammar that makes an answer one."""

from typing import Any

from plimsoll_runtime.engine.grammar import GrammarError
from plimsoll_runtime.server.calling_message import Calling
from plimsoll_runtime.server.context import Context
from plimsoll_runtime.server.errors import bad_request, shown
from plimsoll_runtime.server.structured import MAX_SCHEMA_BYTES, schema_grammar
from plimsoll_runtime.server.tool_calls.call_grammar import call_grammar
from plimsoll_runtime.server.tool_calls.call_shapes import shape_of
from plimsoll_runtime.server.tool_choice import ToolChoice
from plimsoll_runtime.server.tools import Tool

NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


async def forced_grammar(context: Context, calling: Calling, choice: ToolChoice) -> str:
    """The grammar of an answer that calls one of `choice.forced`, tried out.

    Raises APIError 400 where a function's `parameters` cannot be followed.
    """

    def tried() -> str:
        grammar = _grammar(context, calling, choice)
        try:
            context.grammars.check(grammar)
        except GrammarError as error:
            raise bad_request(
                f"tools: a forced call cannot follow their parameters: {error}", param="tools"
            ) from error
        return grammar

    return await context.run_trial(tried)


def _grammar(context: Context, calling: Calling, choice: ToolChoice) -> str:
    tokenizer = context.tokenizer
    template = tokenizer.template(with_tools=True)

    tokens = {
        added.content: each for each, added in tokenizer.hf.get_added_tokens_decoder().items()
    }
    functions: dict[str, str] = {}
    for tool in choice.forced:
        name = tool.function.name
        if name in functions:
            raise bad_request(f"tools: {name} is there twice: which is to be called?", "tools")
        functions[name] = _arguments(tool)
    size = sum(map(len, functions.values()))
    if size > MAX_SCHEMA_BYTES:
        raise bad_request(
            f"tools: their parameters have {size} bytes as a grammar; at most {MAX_SCHEMA_BYTES} "
            "are allowed where a call is forced",
            param="tools",
        )
    return call_grammar(
        shape_of(calling.form.name, template.source if template else ""),
        functions,
        {each: tokens[each] for each in calling.form.markers if each in tokens},
        several=calling.parallel and not choice.named,
    )


def _arguments(tool: Tool) -> str:
    """The grammar of a function's arguments, which are an object whatever else they are."""
    parameters = tool.function.parameters
    schema = NO_PARAMETERS if parameters is None else {"type": "object"} | parameters
    field = f"tools: {tool.function.name}.parameters"
    if schema["type"] != "object":
        raise bad_request(f"{field}.type: must be object, not {shown(schema['type'])}", "tools")
    return schema_grammar(schema, field, "tools")

"""`response_format`: from what a client asks for to a grammar that its answer will follow."""

import json
from typing import Any

from llguidance import LLMatcher

from plimsoll_runtime.engine.grammar import GrammarError
from plimsoll_runtime.server.context import Context
from plimsoll_runtime.server.errors import APIError, bad_request, shown

MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 64
SCHEMA_FIELD = "response_format.json_schema.schema"

WHITESPACE = r"( |\r?\n[ \t]{0,20})?"
"""Between JSON's parts, as people write it: else a model may go on with blanks for ever."""


def response_grammar(response_format: object) -> str | None:
    """The grammar of a `response_format`, None where any text will do. Raises APIError 400."""
    if response_format is None:
        return None
    if not isinstance(response_format, dict):
        raise _bad(f"must be an object, not {shown(response_format)}")
    kind = response_format.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return schema_grammar({"type": "object"}, SCHEMA_FIELD, "response_format")
    if kind != "json_schema":
        raise _bad(f"must be 'text', 'json_object' or 'json_schema', not {shown(kind)}", ".type")
    asked = response_format.get("json_schema")
    if not isinstance(asked, dict):
        raise _bad(f"must be an object with a schema, not {shown(asked)}", ".json_schema")
    schema = asked.get("schema")
    if not isinstance(schema, dict):
        raise _bad(f"must be a JSON schema, not {shown(schema)}", ".json_schema.schema")
    return schema_grammar(schema, SCHEMA_FIELD, "response_format")


async def grammar_of(context: Context, response_format: object) -> str | None:
    """The same, tried out: the engine will be able to follow it.

    Raises APIError 400 naming the field.
    """
    if response_format is None:
        return None

    def tried() -> str | None:
        grammar = response_grammar(response_format)
        if grammar is not None:
            try:
                context.grammars.check(grammar)
            except GrammarError as error:
                raise _bad(f"cannot be followed: {error}", ".json_schema.schema") from error
        return grammar

    return await context.run_trial(tried)


def schema_grammar(schema: dict[str, Any], field: str, param: str) -> str:
    """The grammar of JSON that follows `schema`, which the client sent as `field`.

    Raises APIError 400 that names `param`.
    """
    if _deeper_than(MAX_SCHEMA_DEPTH, schema):
        raise bad_request(f"{field}: is nested more than {MAX_SCHEMA_DEPTH} deep", param)
    text = json.dumps(schema)
    if len(text) > MAX_SCHEMA_BYTES:
        raise bad_request(
            f"{field}: has {len(text)} bytes; at most {MAX_SCHEMA_BYTES} are allowed", param
        )
    options: dict[str, Any] = {"whitespace_pattern": WHITESPACE, "lenient": False}
    try:
        return LLMatcher.grammar_from_json_schema(text, overrides=options)  # type: ignore[arg-type]
    except ValueError as error:
        raise bad_request(f"{field}: is not a JSON schema", param) from error


def _deeper_than(limit: int, value: object) -> bool:
    level = [value]
    for _ in range(limit):
        inner: list[object] = []
        for each in level:
            if isinstance(each, dict):
                inner.extend(each.values())
            elif isinstance(each, list):
                inner.extend(each)
        if not inner:
            return False
        level = inner
    return True


def _bad(problem: str, path: str = "") -> APIError:
    return bad_request(f"response_format{path}: {problem}", param="response_format")

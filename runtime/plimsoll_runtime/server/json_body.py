"""Strict reading of a JSON request body: what parsers disagree about is refused, with 400."""

import json
import re
from typing import Any, NoReturn

from plimsoll_runtime.server.errors import bad_request

MAX_NESTING = 100
"""Lists and objects within each other: far below what would exhaust a stack later on."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _constant(name: str) -> NoReturn:
    raise bad_request(f"the body is not valid JSON: {name} is not a JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise bad_request(f"the body names the key {twice[:80]!r} twice in one object")
    return result


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body` (UTF-8).

    Raises APIError 400 on anything else: other types, bad UTF-8 or lone surrogates, NaN and
    Infinity, repeated keys, nesting beyond MAX_NESTING.
    """
    try:
        value = json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_constant)
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise bad_request(f"the body is not UTF-8 (byte {error.start})") from error
    except UnicodeEncodeError as error:
        raise bad_request("the body holds an unpaired UTF-16 surrogate escape") from error
    except RecursionError as error:
        raise bad_request("the body is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise bad_request(
            f"the body is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from error
    except ValueError as error:
        raise bad_request("the body holds a number of too many digits") from error
    if not isinstance(value, dict):
        raise bad_request("the body must be a JSON object")
    _check_nesting(value)
    return value


def _check_nesting(value: dict[str, Any]) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_NESTING):
        level = [
            child
            for each in level
            for child in (each.values() if type(each) is dict else each)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return
    raise bad_request(f"the body is nested too deeply: more than {MAX_NESTING} levels")

"""The model's chat template, rendered in jinja2's immutable sandbox."""

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from jinja2 import TemplateError, TemplateSyntaxError, meta
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_MESSAGE = 300


class ChatTemplateError(ValueError):
    """The template refused the messages or failed; the message is the template's own, cut."""


def _raise_exception(message: object) -> NoReturn:
    raise TemplateError(str(message))


def _strftime_now(form: str) -> str:
    return datetime.datetime.now(tz=datetime.UTC).strftime(form)


def _tojson(value: object, ensure_ascii: bool = False, indent: int | None = None) -> str:
    # Unlike jinja2's filter, without HTML escapes: templates write prompts, not pages.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


class ChatTemplate:
    """A compiled template with what transformers gives one: raise_exception, strftime_now, tojson.

    Only the model's own source may come in here, never one from a request. `takes_tools` is whether
    it can show tools to the model. Raises ValueError when it does not compile.
    """

    def __init__(self, source: str) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        self.source = source
        try:
            self._template = environment.from_string(source)
            self.takes_tools = "tools" in meta.find_undeclared_variables(environment.parse(source))
        except TemplateSyntaxError as error:
            raise ValueError(f"line {error.lineno}: {error.message}") from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        special_tokens: Mapping[str, str],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt text for `messages`. Raises ChatTemplateError."""
        variables: dict[str, Any] = {
            **(extra or {}),
            **special_tokens,
            "messages": [dict(message) for message in messages],
            "add_generation_prompt": add_generation_prompt,
            "tools": tools,
            "documents": None,
        }
        try:
            return self._template.render(variables)
        except TemplateError as error:
            raise ChatTemplateError((error.message or "failed")[:MAX_MESSAGE]) from error
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise ChatTemplateError(f"failed with {type(error).__name__}") from error

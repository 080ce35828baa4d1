"""Reads an LLMDeployment as the API server would: schema, defaults, and the rules across fields."""

import copy
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from plimsoll_operator.api import API_VERSION, KIND
from plimsoll_operator.api.accelerator import AcceleratorSpec
from plimsoll_operator.api.formats import BY_PATTERN
from plimsoll_operator.api.rules import ACCELERATOR_RULES, RULES, Rule
from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.api.spelling import field_meant
from plimsoll_operator.api.template_rules import template_problems
from plimsoll_operator.api.time_zone import zone

M = TypeVar("M", bound=BaseModel)
MAX_NAME_LENGTH = 53
_NAME_PATTERN = "[a-z]([-a-z0-9]*[a-z0-9])?"
_HINTS = {
    "extra_forbidden": "unknown field; remove it or check its spelling",
    "missing": "is required",
}
_OF_TYPES = {
    "string_type": (
        'must be text: put it in quotes, "{}", with its unit if it has one, such as 800ms'
    ),
    "int_type": "must be a whole number, without quotes",
    "bool_type": "must be true or false, without quotes",
}


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an input: the field, and what it has and needs."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class InvalidSpecError(ValueError):
    """The input is not a valid object; `problems` says where and why."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def parse_document(document: object) -> tuple[str, LLMDeploymentSpec]:
    """Name and spec of a whole LLMDeployment object. Raises InvalidSpecError."""
    if not isinstance(document, Mapping):
        kind = type(document).__name__
        raise InvalidSpecError((Problem("document", f"must be an object of {KIND}, not {kind}"),))
    problems = []
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document.get(key) != wanted:
            problems.append(Problem(key, f"must be {wanted}, not {document.get(key)!r}"))
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if (
        not isinstance(name, str)
        or len(name) > MAX_NAME_LENGTH
        or not re.fullmatch(_NAME_PATTERN, name)
    ):
        problems.append(
            Problem(
                "metadata.name",
                f"must be at most {MAX_NAME_LENGTH} lower case letters, digits and '-', starting "
                f"with a letter, not {name!r}",
            )
        )
    if problems:
        raise InvalidSpecError(tuple(problems))
    return str(name), parse_spec(document.get("spec"))


def parse_spec(raw: object) -> LLMDeploymentSpec:
    """The typed spec with defaults filled in. Raises InvalidSpecError listing every problem."""
    if not isinstance(raw, Mapping):
        raise InvalidSpecError((Problem("spec", "is required and must be an object"),))
    return _checked(LLMDeploymentSpec, raw, RULES, _more_problems)


def parse_accelerator(raw: object) -> AcceleratorSpec:
    """The typed spec of an Accelerator. Raises InvalidSpecError listing every problem."""
    if not isinstance(raw, Mapping):
        raise InvalidSpecError((Problem("spec", "is required and must be an object"),))
    return _checked(AcceleratorSpec, raw, ACCELERATOR_RULES, lambda _: ())


def _checked(
    model: type[M],
    raw: Mapping[str, Any],
    rules: Iterable[Rule],
    more: Callable[[M], Iterable[Problem]],
) -> M:
    """`more` finds what no rule of the CRD can."""
    try:
        spec = _read(model, raw)
    except ValidationError as error:
        raise InvalidSpecError(tuple(_schema_problems(model, error))) from error
    broken = (problem for rule in rules if (problem := check(rule, spec)) is not None)
    if problems := (*broken, *more(spec)):
        raise InvalidSpecError(problems)
    return spec


def _read(model: type[M], raw: Mapping[str, Any]) -> M:
    """Fields without a value, as `scaling:` with all below it commented out, count as absent.

    So they do for the API server: by Kubernetes, "CustomResourceDefinitions, Defaulting and
    Nullable". Raises ValidationError.
    """
    try:
        return _strictly(model, raw)
    except ValidationError as error:
        empty = [
            item["loc"]
            for item in error.errors(include_url=False)
            if item["input"] is None and item["type"] not in _HINTS
        ]
        if not empty:
            raise
    cut = copy.deepcopy(dict(raw))
    for *above, name in empty:
        node: Any = cut
        for part in above:
            node = node[part]
        if isinstance(node, dict):  # what stands in a list stays
            node.pop(name, None)
    return _strictly(model, cut)


def _strictly(model: type[M], raw: Mapping[str, Any]) -> M:
    """As the API server reads JSON: "5" and true are no integers. YAML's dates are texts to it."""
    return model.model_validate_json(json.dumps(raw, default=str), strict=True)


def _more_problems(spec: LLMDeploymentSpec) -> Iterator[Problem]:
    for path, message in template_problems(spec.template):
        yield Problem(f"spec.template.{path}", message)
    for each in spec.scaling.schedules:
        if zone(each.time_zone) is None:
            yield Problem(
                f"spec.scaling.schedules[{each.name}].timeZone",
                f"{each.time_zone!r}: there is no such time zone: give an IANA name",
            )


def check(rule: Rule, spec: BaseModel) -> Problem | None:
    """What `rule` finds wrong with `spec`; None where it holds or its node is absent."""
    present, node = _follow(spec, rule.path.removeprefix("spec"))
    if not present or rule.holds(node):
        return None
    _, value = _follow(node, rule.field)
    shown = f"{_plain(value)}: " if isinstance(value, str | int | float) else ""
    return Problem(f"{rule.path}{rule.field}", f"{shown}{rule.message}")


def _follow(node: Any, dotted: str) -> tuple[bool, Any]:
    for part in dotted.split("."):
        if part:
            node = getattr(node, _snake(part))
            if node is None:
                return False, None
    return True, node


@cache
def _snake(camel: str) -> str:
    return re.sub("(?<!^)([A-Z])", lambda match: "_" + match[1].lower(), camel)


def _plain(value: object) -> str:
    return repr(str(value)) if isinstance(value, str) else str(value)


def _schema_problems(model: type[BaseModel], error: ValidationError) -> Iterator[Problem]:
    for item in error.errors(include_url=False):
        path = "spec"
        for part in item["loc"]:
            path += f"[{part}]" if isinstance(part, int) else f".{part}"
        message = _HINTS.get(item["type"])
        if item["type"] == "extra_forbidden" and (meant := field_meant(model, item["loc"])):
            message = f"unknown field; did you mean {meant}?"
        if message is None:
            value = item["input"]
            shown = repr(value) if isinstance(value, str | int | float | bool) else ""
            if item["type"] in _OF_TYPES and shown:
                yield Problem(path, f"{shown}: {_OF_TYPES[item['type']].format(value)}")
                continue
            known = BY_PATTERN.get(str(item.get("ctx", {}).get("pattern", "")))
            text = known.message if known else item["msg"][:1].lower() + item["msg"][1:]
            message = f"{shown}: {text}" if shown else text
        yield Problem(path, message)

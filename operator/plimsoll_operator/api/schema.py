"""CustomResourceDefinitions, made from the pydantic types.

A structural schema may not hold `$ref`, `anyOf` with null or `additionalProperties: false`: what
is optional is simply not required, and references are written out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import yaml
from pydantic import BaseModel

from plimsoll_operator.api import GROUP, VERSION
from plimsoll_operator.api.formats import BY_PATTERN
from plimsoll_operator.api.rules import Rule

_KEPT = (
    "description",
    "type",
    "format",
    "enum",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
    "maxProperties",
)
_INT32_MAX = 2**31 - 1


class _WithoutAliases(yaml.SafeDumper):
    """Writes equal lists out, since `&id001` helps no reader of a manifest."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


@dataclass(frozen=True)
class CustomResource:
    """What a CustomResourceDefinition is made of.

    `columns` are name, type and path of what `kubectl get` prints, `name_rules` are CEL rules on
    the whole object.
    """

    kind: str
    plural: str
    short_name: str
    scope: str
    description: str
    spec: type[BaseModel]
    status: type[BaseModel]
    rules: tuple[Rule, ...]
    columns: tuple[tuple[str, str, str], ...]
    subresources: Mapping[str, Any]
    categories: tuple[str, ...] = ()
    name_rules: tuple[Mapping[str, str], ...] = ()

    def definition(self) -> dict[str, Any]:
        """The CRD as the API server takes it."""
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{self.plural}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "names": {
                    "kind": self.kind,
                    "listKind": f"{self.kind}List",
                    "plural": self.plural,
                    "singular": self.kind.lower(),
                    "shortNames": [self.short_name],
                    **({"categories": list(self.categories)} if self.categories else {}),
                },
                "scope": self.scope,
                "versions": [
                    {
                        "name": VERSION,
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": self._schema()},
                        "subresources": dict(self.subresources),
                        "additionalPrinterColumns": [
                            {"name": name, "type": kind, "jsonPath": path}
                            for name, kind, path in self.columns
                        ],
                    }
                ],
            },
        }

    def text(self) -> str:
        """The CRD as the text of its file in crds/, byte-stable."""
        return (
            "# Generated from operator/plimsoll_operator/api by `plimsoll crd`; do not edit.\n"
            + yaml.dump(
                self.definition(),
                Dumper=_WithoutAliases,
                sort_keys=False,
                allow_unicode=True,
                width=100,
            )
        )

    @property
    def file_name(self) -> str:
        """Of its file in crds/."""
        return f"{GROUP}_{self.plural}.yaml"

    def _schema(self) -> dict[str, Any]:
        spec = structural(self.spec, with_defaults=True)
        for rule in self.rules:
            _add_rule(spec, rule)
        name_rules = [dict(rule) for rule in self.name_rules]
        return {
            "description": self.description,
            "type": "object",
            "required": ["spec"],
            "properties": {
                "apiVersion": {"description": "Version of this schema.", "type": "string"},
                "kind": {"description": f"Always {self.kind}.", "type": "string"},
                "metadata": {"type": "object"},
                "spec": spec,
                "status": structural(self.status, with_defaults=False),
            },
            **({"x-kubernetes-validations": name_rules} if name_rules else {}),
        }


def structural(model: type[BaseModel], *, with_defaults: bool) -> dict[str, Any]:
    """The structural schema of a pydantic model. Raises ValueError for what cannot be one."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    return _node(schema, definitions, with_defaults=with_defaults)


def _node(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], *, with_defaults: bool
) -> dict[str, Any]:
    merged = _resolved(schema, definitions)
    node = {key: merged[key] for key in _KEPT if key in merged}
    if "type" not in node:
        raise ValueError(f"no structural type for {dict(schema)}: give the field one type")
    default = merged.get("default")
    if with_defaults and default is not None and default != []:
        node["default"] = _stored(default)
    if "pattern" in merged:
        node["x-kubernetes-validations"] = [_format_rule(str(merged["pattern"]))]
    if node["type"] == "integer":
        node["format"] = "int32" if merged.get("maximum", 2**63) <= _INT32_MAX else "int64"
    if node["type"] == "array":
        node["items"] = _node(merged["items"], definitions, with_defaults=with_defaults)
        node.setdefault("x-kubernetes-list-type", "atomic")
    values = merged.get("additionalProperties")
    if node["type"] == "object" and isinstance(values, Mapping):
        node["additionalProperties"] = _node(values, definitions, with_defaults=with_defaults)
    elif node["type"] == "object" and not node.get("x-kubernetes-preserve-unknown-fields"):
        node["properties"] = {
            name: _node(child, definitions, with_defaults=with_defaults)
            for name, child in merged.get("properties", {}).items()
        }
        required = [
            name for name in merged.get("required", ()) if "default" not in node["properties"][name]
        ]
        if required:
            node["required"] = required
    return node


def _format_rule(pattern: str) -> dict[str, str]:
    found = BY_PATTERN.get(pattern)
    if found is None:
        raise ValueError(f"no message for the pattern {pattern}: make it a format in formats.py")
    return {"rule": found.cel, "message": found.message}


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """References and `anyOf: [X, null]` written out; what stands beside them wins."""
    merged = dict(schema)
    while "$ref" in merged or "anyOf" in merged:
        if "$ref" in merged:
            inner = definitions[merged.pop("$ref").removeprefix("#/$defs/")]
        else:
            options = [option for option in merged.pop("anyOf") if option.get("type") != "null"]
            if len(options) != 1:
                raise ValueError(f"more than one type in {dict(schema)}: choose one")
            inner = options[0]
        merged = {**inner, **merged}
    return merged


def _stored(default: Any) -> Any:
    """A default as it is stored: whole, since rules see it before nested defaults are filled in."""
    if not isinstance(default, Mapping):
        return default
    return {
        name: _stored(value) for name, value in default.items() if value is not None and value != []
    }


def _add_rule(spec: dict[str, Any], rule: Rule) -> None:
    node = spec
    for part in rule.path.removeprefix("spec").split("."):
        if part:
            node = cast("dict[str, Any]", node["properties"][part])
    validation = {"rule": rule.cel, "message": rule.message}
    if rule.field:
        validation["fieldPath"] = rule.field
    node.setdefault("x-kubernetes-validations", []).append(validation)

"""No string of a spec reaches more of the rendered children than the one value that it is for."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.api.definitions import LLM_DEPLOYMENT
from plimsoll_operator.api.formats import BY_PATTERN
from plimsoll_operator.render.children import children
from plimsoll_operator.render.labels import PODS_ANNOTATION, RENDERED_ANNOTATION
from tests.unit.plimsoll_operator.samples import IMAGE, cpu_plan, resource

CONFIG = {"configMapKeyRef": {"name": "facts"}}
CLAIM = {"source": "pvc://claim/model", "configFrom": CONFIG}
DRAFT = {"source": "pvc://drafts/small", "configFrom": CONFIG}
HUB = {"source": "hf://org/model", "allowMovingRevision": True}
OFFICE = {"name": "office", "start": "08:00", "end": "18:00", "minReplicas": 2}
HOSTILE = (
    *("--trust-remote-code", "a --api-key=x", "a\n--x", "a\0b", "$(HOME)", "${HOME}", "`id`"),
    *("a;id", "a&&id", "a|id", '"', "'", "\\", "{{x}}", "%s", "../../etc/shadow", "/etc/shadow"),
    *(
        "a/../../b",
        ".",
        "..",
        "-",
        "",
        " ",
        "*",
        "a: b",
        "[x]",
        "# x",
        "!!python/name:os",
        "é",
        "\u202e",
    ),
    *("hf://org/name --x", "hf://../../x", "pvc://claim/../x", "pvc://claim//x", "pvc://-x"),
    *("oci://--privileged", "oci://a b", "oci://A", "builtin://../x", "file:///etc", "http://x"),
    *("0.0.0.0/0; x", "10.0.0.0/8,::/0", "::/0\n", "kube-system\n", "a,b", "1s;x", "1e9", "-1"),
)
Spec = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """`spec` puts a value into a field; `reaches` are the leaves of children it may then be."""

    spec: Callable[[str], Spec]
    reaches: Callable[[str], set[str]] = lambda _: set()


def _of_model(field: str, option: str = "") -> Place:
    return Place(
        lambda value: {"model": {**HUB, field: value}},
        lambda value: {f"--{option}={value}"} if option else set(),
    )


def _source(value: str) -> Spec:
    """With all that a source of its scheme needs beside it."""
    if value.startswith(("pvc://", "oci://")):
        return {"source": value, "configFrom": CONFIG}
    return {"source": value, "allowMovingRevision": value.startswith("hf://")}


def _mounted(value: str, path: str) -> set[str]:
    """A model's argument, and the claim or image of its volume."""
    scheme, _, rest = value.partition("://")
    if scheme == "pvc":
        claim, _, within = rest.partition("/")
        return {claim, f"{path}/{within}" if within else path}
    if scheme == "hf":  # also the folder that it is downloaded into
        folder = f"/cache/models/main/{rest}"
        return {value, folder, f"--into={folder}"}
    return {rest, path} if scheme == "oci" else {value}


def _draft(value: Spec) -> Spec:
    return {"model": CLAIM, "speculation": {"method": "DraftModel", "draftModel": value}}


def _config(model: str, **more: str) -> str:
    known = {
        "method": "draft_model",
        "num_speculative_tokens": 4,
        "disable_by_batch_size": 8,
        "model": model,
    }
    return f"--speculative-config={json.dumps({**known, **more})}"


def _drafted(value: str) -> set[str]:
    places = _mounted(value, "/draft-model")
    return places | {_config(place) for place in (*places, "/models/model")}


def _reference(field: str, value: str) -> Spec:
    return {"configMapKeyRef": {"name": "facts", field: value}}


PLACES: dict[str, Place] = {
    "model.source": Place(
        lambda value: {"model": _source(value)}, lambda value: _mounted(value, "/models")
    ),
    "model.revision": _of_model("revision", "revision"),
    "model.servedName": _of_model("servedName", "served-model-name"),
    **{
        f"model.configFrom.configMapKeyRef.{field}": Place(
            lambda value, field=field: {"model": {**CLAIM, "configFrom": _reference(field, value)}}  # type: ignore[misc]
        )
        for field in ("name", "key")
    },
    "speculation.draftModel.source": Place(lambda value: _draft(_source(value)), _drafted),
    "speculation.draftModel.revision": Place(
        lambda value: _draft({**HUB, "revision": value}),
        lambda value: {_config("hf://org/model", revision=value)},
    ),
    **{
        f"speculation.draftModel.configFrom.configMapKeyRef.{field}": Place(
            lambda value, field=field: _draft({**DRAFT, "configFrom": _reference(field, value)})  # type: ignore[misc]
        )
        for field in ("name", "key")
    },
    "workload.requestsPerSecond": Place(lambda value: {"workload": {"requestsPerSecond": value}}),
    **{
        f"workload.trace.configMapKeyRef.{field}": Place(
            lambda value, field=field: {"workload": {"trace": _reference(field, value)}}  # type: ignore[misc]
        )
        for field in ("name", "key")
    },
    "slo.timeToFirstToken.p95": Place(lambda value: {"slo": {"timeToFirstToken": {"p95": value}}}),
    "slo.timePerOutputToken.p95": Place(
        lambda value: {"slo": {"timePerOutputToken": {"p95": value}}}
    ),
    "slo.maxCostPerMillionTokens": Place(lambda value: {"slo": {"maxCostPerMillionTokens": value}}),
    "accelerators.allow[]": Place(lambda value: {"accelerators": {"allow": [value]}}),
    "scaling.scaleDownStabilization": Place(
        lambda value: {"scaling": {"scaleDownStabilization": value}}
    ),
    **{
        f"scaling.schedules[].{field}": Place(
            lambda value, field=field: {  # type: ignore[misc]
                "scaling": {"schedules": [{**OFFICE, field: value}], "maxReplicas": 4}
            }
        )
        for field in ("name", "start", "end", "timeZone")
    },
    "pin.kvCacheMemory": Place(lambda value: {"pin": {"kvCacheMemory": value}}),
    **{
        f"model.tokenFrom.secretKeyRef.{field}": Place(
            lambda value, field=field: {  # type: ignore[misc]
                "model": {**HUB, "tokenFrom": {"secretKeyRef": {"name": "hub", field: value}}}
            },
            lambda value: {value},
        )
        for field in ("name", "key")
    },
    "model.cache.claimName": Place(
        lambda value: {"model": {**HUB, "cache": {"claimName": value}}}, lambda value: {value}
    ),
    **{
        f"authentication.apiKeysFrom.secretKeyRef.{field}": Place(
            lambda value, field=field: {  # type: ignore[misc]
                "model": CLAIM,
                "authentication": {
                    "apiKeysFrom": {"secretKeyRef": {"name": "clients", field: value}}
                },
            },
            lambda value: {value},
        )
        for field in ("name", "key")
    },
    "tls.certificateFrom.secretRef.name": Place(
        lambda value: {
            "model": CLAIM,
            "tls": {"certificateFrom": {"secretRef": {"name": value}}},
        },
        lambda value: {
            value,
            f"/etc/plimsoll/tls/{value}",
            f"--ssl-certfile=/etc/plimsoll/tls/{value}/tls.crt",
            f"--ssl-keyfile=/etc/plimsoll/tls/{value}/tls.key",
        },
    ),
    "access.namespaces[]": Place(
        lambda value: {"access": {"namespaces": [value]}}, lambda value: {value}
    ),
    "access.cidrs[]": Place(lambda value: {"access": {"cidrs": [value]}}, lambda value: {value}),
}


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}")
    elif isinstance(node, list | tuple) and node:
        for index, value in enumerate(node):
            yield from leaves(value, f"{path}[{index}]")
    else:
        yield path, node


def rendered(spec: Spec) -> dict[str, Any] | None:
    """Leaves of all children by their path; None where the spec is refused."""
    owner = resource(spec=spec)
    if owner.spec is None:
        return None
    made = children(owner, owner.spec, cpu_plan(), IMAGE, 1)
    hashes = (RENDERED_ANNOTATION, PODS_ANNOTATION)
    return {path: leaf for path, leaf in leaves(made) if not path.endswith(hashes)}


def strings(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Strings of the CRD that are not one of a few words."""
    for name, child in schema.get("properties", {}).items():
        yield from strings(child, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from strings(schema["items"], f"{path}[]")
    if schema["type"] == "string" and "enum" not in schema:
        yield path, schema


SCHEMA = LLM_DEPLOYMENT.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
STRINGS = dict(strings(SCHEMA["properties"]["spec"]))
PATTERNS = {item.cel: item.pattern for item in BY_PATTERN.values()}


def pattern_of(field: str) -> str:
    rules = (rule["rule"] for rule in STRINGS[field]["x-kubernetes-validations"])
    (found,) = (PATTERNS[rule] for rule in rules if rule in PATTERNS)
    return found


def test_every_string_of_the_spec_is_tried() -> None:
    assert set(PLACES) == set(STRINGS)


@pytest.mark.parametrize("field", PLACES)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_string_stays_where_it_belongs(field: str, data: st.DataObject) -> None:
    fitting = st.from_regex(pattern_of(field), fullmatch=True)
    value = data.draw(st.one_of(fitting, st.sampled_from(HOSTILE), st.text(max_size=30)))
    other = data.draw(fitting)
    check(PLACES[field], value, other)


@pytest.mark.parametrize("field", PLACES)
def test_hostile_strings_stay_where_they_belong(field: str) -> None:
    for value in HOSTILE:
        check(PLACES[field], value, value)


def check(place: Place, value: str, other: str) -> None:
    """Renders with both values: they differ where the value belongs, and in nothing else."""
    found, beside = rendered(place.spec(value)), rendered(place.spec(other))
    if found is None or beside is None:
        return
    for leaf in found.values():
        if isinstance(leaf, str):
            # What a shell, the kubelet's $(VARIABLE) or a reader of lines would understand.
            assert not set(leaf) & set("$`\\\n\r\0;|&<>")
    differing = {leaf for path, leaf in found.items() if path not in beside or beside[path] != leaf}
    scheme, before = value.partition("://")[0], other.partition("://")[0]
    if scheme == before:
        assert {leaf for leaf in differing if isinstance(leaf, str)} <= place.reaches(value)
        assert all(isinstance(leaf, str) for leaf in differing)

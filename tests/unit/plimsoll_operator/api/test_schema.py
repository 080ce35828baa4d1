"""The CRD is the types, and is one that the API server takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from plimsoll_operator.api.base import ApiModel
from plimsoll_operator.api.definitions import ACCELERATOR, DEFINITIONS, LLM_DEPLOYMENT
from plimsoll_operator.api.formats import BY_PATTERN, SOURCE
from plimsoll_operator.api.schema import CustomResource, structural
from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.commands import crd
from plimsoll_operator.resource import dump_status, parse_resource
from tests.unit.plimsoll_operator.samples import cpu_plan

FOLDER = Path(__file__).parents[4] / "crds"
CRD = LLM_DEPLOYMENT.definition()
VERSION = CRD["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]
EACH = pytest.mark.parametrize("resource", DEFINITIONS, ids=lambda item: item.kind)


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


def node(path: str) -> dict[str, Any]:
    return dict(nodes(SCHEMA))[path]


def schema_of(resource: CustomResource) -> dict[str, Any]:
    (version,) = resource.definition()["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


@EACH
def test_file_is_generated(resource: CustomResource) -> None:
    text = (FOLDER / resource.file_name).read_text(encoding="utf-8")
    assert text == resource.text()
    assert yaml.safe_load(text) == resource.definition()


def test_command_writes_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crd.main(["--check", str(tmp_path)]) == 1
    assert crd.main(["--write", str(tmp_path)]) == 0
    assert crd.main(["--check", str(tmp_path)]) == 0
    capsys.readouterr()
    assert crd.main([]) == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert printed == [item.definition() for item in DEFINITIONS]
    file = tmp_path / LLM_DEPLOYMENT.file_name
    file.write_text(file.read_text("utf-8").replace("llm", "lmm"), encoding="utf-8")
    assert crd.main(["--check", str(tmp_path)]) == 1
    assert f"run `plimsoll crd --write {tmp_path}`" in capsys.readouterr().err


@EACH
def test_schema_is_structural(resource: CustomResource) -> None:
    allowed = {
        *("type", "format", "description", "properties", "required", "items", "default", "enum"),
        *("minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems"),
        *("maxProperties", "additionalProperties", "x-kubernetes-preserve-unknown-fields"),
        *("x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
    }
    for path, schema in nodes(schema_of(resource)):
        assert set(schema) <= allowed, path
        assert isinstance(schema["type"], str), path


@EACH
def test_every_field_is_described(resource: CustomResource) -> None:
    for path, schema in nodes(schema_of(resource)):
        if path != ".metadata" and not path.endswith("[]"):
            assert schema.get("description", "").endswith("."), path


@EACH
def test_every_string_and_list_of_the_spec_is_bounded(resource: CustomResource) -> None:
    # Else the API server refuses the rules as too costly.
    for path, schema in nodes(schema_of(resource)["properties"]["spec"]):
        if schema["type"] == "string":
            assert "maxLength" in schema or "enum" in schema, path
        if schema["type"] == "array":
            assert "maxItems" in schema, path
        if schema["type"] == "integer":
            assert "minimum" in schema, path
            assert "maximum" in schema, path


def rules_in(resource: CustomResource) -> set[tuple[str, str, str]]:
    return {
        (path.removeprefix("."), rule["rule"], rule.get("fieldPath", ""))
        for path, schema in nodes(schema_of(resource))
        for rule in schema.get("x-kubernetes-validations", ())
    }


@EACH
def test_all_rules_are_in_the_schema(resource: CustomResource) -> None:
    found = rules_in(resource)
    assert {(rule.path, rule.cel, rule.field) for rule in resource.rules} <= found
    formats = {item.cel for item in BY_PATTERN.values()}
    others = [cel for _, cel, _ in found if cel not in formats]
    assert len(others) == len(resource.rules) + len(resource.name_rules)


def test_all_formats_are_used() -> None:
    used = {cel for item in DEFINITIONS for _, cel, _ in rules_in(item)}
    assert used >= {item.cel for item in BY_PATTERN.values()}


def test_a_format_is_told_in_words() -> None:
    # A bare pattern would be answered with itself.
    for resource in DEFINITIONS:
        for path, schema in nodes(schema_of(resource)):
            assert "pattern" not in schema, path
    source = node(".spec.model.source")["x-kubernetes-validations"]
    assert source == [{"rule": SOURCE.cel, "message": SOURCE.message}]
    (allowed,) = node(".spec.accelerators.allow[]")["x-kubernetes-validations"]
    assert allowed["message"].startswith("must be cpu or a product")


def test_a_pattern_without_words_is_refused() -> None:
    class Wordless(ApiModel):
        value: str = Field(pattern="^x+$", description="Some.")

    with pytest.raises(ValueError, match="no message for the pattern"):
        structural(Wordless, with_defaults=True)


def test_defaults_are_what_the_types_say() -> None:
    def fill(schema: dict[str, Any], value: Any) -> Any:
        if schema["type"] != "object":
            return value
        filled = dict(value)
        for name, child in schema["properties"].items():
            if name not in filled and "default" in child:
                filled[name] = child["default"]
            if name in filled:
                filled[name] = fill(child, filled[name])
        return filled

    minimal = {"model": {"source": "builtin://tiny"}}
    by_server = fill(node(".spec"), minimal)
    assert LLMDeploymentSpec.model_validate(by_server) == LLMDeploymentSpec.model_validate(minimal)
    assert by_server["scaling"]["scaleDownStabilization"] == "300s"
    # What has no default in the types has none in the schema.
    assert "replicas" not in by_server


@EACH
def test_status_has_no_defaults_and_only_what_is_always_written_is_required(
    resource: CustomResource,
) -> None:
    status = schema_of(resource)["properties"]["status"]
    for path, schema in nodes(status):
        assert "default" not in schema, path
    assert "required" not in status


def test_subresources_columns_and_names() -> None:
    assert VERSION["subresources"] == {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }
    columns = [column["name"] for column in VERSION["additionalPrinterColumns"]]
    assert columns == ["Ready", "Plan", "Replicas", "TTFT", "Age"]
    for column in VERSION["additionalPrinterColumns"]:
        path = column["jsonPath"].split("[")[0]
        if not path.startswith(".metadata"):
            assert path in dict(nodes(SCHEMA))
    assert CRD["spec"]["names"]["shortNames"] == ["llm"]
    assert CRD["spec"]["names"]["categories"] == ["all"]
    assert CRD["spec"]["scope"] == "Namespaced"


def test_accelerators_are_of_the_cluster() -> None:
    definition = ACCELERATOR.definition()
    assert definition["metadata"]["name"] == "accelerators.plimsoll.dev"
    assert definition["spec"]["scope"] == "Cluster"
    # `kubectl get all` is of a namespace.
    assert "categories" not in definition["spec"]["names"]
    (version,) = definition["spec"]["versions"]
    assert version["subresources"] == {"status": {}}
    for column in version["additionalPrinterColumns"]:
        path = column["jsonPath"].split("[")[0]
        if not path.startswith(".metadata"):
            assert path in dict(nodes(schema_of(ACCELERATOR)))


def test_two_types_in_one_field_are_refused() -> None:
    class Ambiguous(ApiModel):
        value: int | str = Field(description="Either.")

    with pytest.raises(ValueError, match="more than one type"):
        structural(Ambiguous, with_defaults=True)


def test_a_status_survives_a_round_trip() -> None:
    raw = {
        "metadata": {"namespace": "ml", "name": "chat", "uid": "u", "generation": 3},
        "spec": {"model": {"source": "builtin://tiny"}},
        "status": {"observedGeneration": 3, "replicas": 0, "planFeasible": False},
    }
    assert dump_status(parse_resource(raw).status) == raw["status"]


def read(status: Any) -> dict[str, Any]:
    raw = {
        "metadata": {"namespace": "ml", "name": "chat", "uid": "u", "generation": 3},
        "spec": {"model": {"source": "builtin://tiny"}},
        "status": status,
    }
    return dump_status(parse_resource(raw).status)


@pytest.mark.parametrize("status", [{"replicas": "many"}, {"unknown": 1}, "text", [1], None])
def test_a_status_that_is_not_ours_counts_as_empty(status: Any) -> None:
    assert read(status) == {}


def test_what_can_be_read_of_a_status_of_another_version_stands() -> None:
    plan = cpu_plan().model_dump(mode="json", by_alias=True, exclude_none=True)
    ours = {"plan": plan, "planInputs": "abc", "planFeasible": True, "replicas": 2}
    assert read(ours) == ours
    later = {**plan, "later": 1, "predicted": {**plan["predicted"], "later": {"p95": "1s"}}}
    broken = {"draining": "one", "conditions": [{"type": "Ready"}], "rollback": {"generation": 1}}
    assert read({**ours, "plan": later, "later": [1], **broken}) == ours


@given(
    st.dictionaries(
        st.sampled_from(["plan", "replicas", "conditions", "scaling", "served", "limits", "x"]),
        st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    )
)
def test_no_status_is_an_error(status: dict[str, Any]) -> None:
    read(status)


def test_an_invalid_spec_is_said_and_not_raised() -> None:
    raw = {"metadata": {"namespace": "ml", "name": "chat", "uid": "u"}, "spec": {"model": {}}}
    parsed = parse_resource(raw)
    assert parsed.spec is None
    assert "spec.model.source" in parsed.invalid

"""What people add to pods: templates, Secrets, and edits that are taken back."""

import json
from typing import Any

import pytest

from plimsoll_operator.api.template_rules import OWN_VOLUMES
from plimsoll_operator.difference import difference
from tests.unit.plimsoll_operator.render.cases import CASES, engine, pod, rendered


def test_a_template_is_laid_over_the_pod() -> None:
    case = "gpu-secrets-template"
    plain, spec = pod("gpu-hf"), pod(case)
    assert spec["nodeSelector"] == {**plain["nodeSelector"], "pool": "llm"}
    dedicated = {"key": "dedicated", "value": "llm", "effect": "NoSchedule"}
    assert spec["tolerations"] == [*plain["tolerations"], dedicated]
    assert spec["priorityClassName"] == "serving"
    assert [each["name"] for each in spec["containers"]] == ["engine", "log"]
    log = spec["containers"][1]["securityContext"]
    assert log == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    (deployed,) = (child for child in rendered(case) if child["kind"] == "Deployment")
    metadata = deployed["spec"]["template"]["metadata"]
    assert metadata["annotations"] == {"scrape": "no"}
    assert metadata["labels"]["team"] == "ml"
    assert deployed["spec"]["selector"]["matchLabels"].items() <= metadata["labels"].items()


def test_a_template_cannot_take_the_place_of_the_operators_volumes() -> None:
    used = {volume["name"] for case in CASES for volume in pod(case)["volumes"]}
    assert used - OWN_VOLUMES == {"spool"}


def test_secrets_are_named_and_never_read() -> None:
    spec, container = pod("gpu-secrets-template"), engine("gpu-secrets-template")
    volumes = {each["name"]: each for each in spec["volumes"]}
    assert volumes["cache"]["persistentVolumeClaim"] == {"claimName": "models"}
    assert volumes["api-keys"]["secret"]["secretName"] == "clients"
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "api-keys")
    (file,) = volumes["api-keys"]["secret"]["items"]
    assert f"--api-key-file={mount['mountPath']}/{file['path']}" in container["args"]


@pytest.mark.parametrize("added", [{"nodeSelector": {"x": "y"}}, {"tolerations": [{"key": "x"}]}])
def test_placement_that_somebody_adds_is_a_difference(added: dict[str, Any]) -> None:
    deployment = rendered("cpu-builtin")[-1]
    tampered = json.loads(json.dumps(deployment))
    tampered["spec"]["template"]["spec"].update(added)
    assert difference(deployment, tampered) == f".spec.template.spec.{next(iter(added))}"
    for field in ("nodeSelector", "tolerations"):
        # The API server leaves out what is empty.
        tampered["spec"]["template"]["spec"].pop(field)
    assert difference(deployment, tampered) is None

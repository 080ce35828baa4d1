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


def test_tls_is_spoken_wherever_the_api_is_reached() -> None:
    spec, container = pod("cpu-tls"), engine("cpu-tls")
    (volume,) = (each for each in spec["volumes"] if each["name"] == "tls")
    assert volume["secret"]["secretName"] == "shown"
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "tls")
    files = {item["path"] for item in volume["secret"]["items"]}
    for option, file in (("ssl-certfile", "tls.crt"), ("ssl-keyfile", "tls.key")):
        assert file in files
        assert f"--{option}={mount['mountPath']}/{file}" in container["args"]
    probes = [container[f"{each}Probe"]["httpGet"] for each in ("startup", "liveness", "readiness")]
    assert {(probe["scheme"], probe["port"]) for probe in probes} == {("HTTPS", "https")}
    names = {port["name"] for port in container["ports"]}
    services = [child for child in rendered("cpu-tls") if child["kind"] == "Service"]
    ports = [port for each in services for port in each["spec"]["ports"]]
    assert all(port["appProtocol"] == "https" for port in ports if port["targetPort"] in names)
    # Port 80 leads to pods that do not speak TLS yet, and to no others.
    assert [port["port"] for port in ports if port["targetPort"] not in names] == [80]


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

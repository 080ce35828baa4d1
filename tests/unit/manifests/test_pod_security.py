"""Operator and engines are `restricted`, and each control of that would notice if not."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.manifests.pod_security import violations
from tests.unit.manifests.shipped import ROOT, find, installed

RENDERED = sorted((ROOT / "tests" / "golden" / "render").glob("v*/*.yaml"))


def engine_pod(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    (deployment,) = (
        item for item in yaml.safe_load_all(path.read_text("utf-8")) if item["kind"] == "Deployment"
    )
    template = deployment["spec"]["template"]
    return template["spec"], template["metadata"].get("annotations", {})


def operator_pod() -> dict[str, Any]:
    spec: dict[str, Any] = find("Deployment", "plimsoll-operator")["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.stem)
def test_engines_are_restricted(path: Path) -> None:
    assert violations(*engine_pod(path)) == []


def test_the_operator_is_restricted_and_the_only_pod() -> None:
    assert violations(operator_pod()) == []
    kinds = {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod"}
    assert [item["kind"] for item in installed() if item["kind"] in kinds] == ["Deployment"]


BREAKS: dict[str, list[tuple[str, Any]]] = {
    "host namespaces": [("hostNetwork", True)],
    "volume types": [("volumes", [{"name": "x", "hostPath": {"path": "/"}}])],
    "sysctls": [("securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}])],
    "privileged containers": [("containers.0.securityContext.privileged", True)],
    "privilege escalation": [("containers.0.securityContext.allowPrivilegeEscalation", None)],
    "running as non-root": [("securityContext.runAsNonRoot", None)],
    "running as non-root user": [("securityContext.runAsUser", 0)],
    "capabilities": [
        ("containers.0.securityContext.capabilities", None),
        ("containers.0.securityContext.capabilities.add", ["SYS_ADMIN"]),
    ],
    "seccomp": [
        ("securityContext.seccompProfile", None),
        ("containers.0.securityContext.seccompProfile", {"type": "Unconfined"}),
    ],
    "AppArmor": [("securityContext.appArmorProfile", {"type": "Unconfined"})],
    "SELinux": [("securityContext.seLinuxOptions", {"type": "spc_t"})],
    "/proc mount type": [("containers.0.securityContext.procMount", "Unmasked")],
    "host ports": [("containers.0.ports", [{"containerPort": 1, "hostPort": 1}])],
    "host probes": [("containers.0.livenessProbe.httpGet.host", "10.0.0.1")],
    "host process": [("securityContext.windowsOptions", {"hostProcess": True})],
}


def changed(pod: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one field set, or taken out where `value` is None."""
    made = copy.deepcopy(pod)
    *parents, last = path.split(".")
    node: Any = made
    for part in parents:
        node = node[int(part)] if part.isdigit() else node[part]
    if value is None:
        node.pop(last)
    else:
        node[last] = value
    return made


@pytest.mark.parametrize(
    ("control", "path", "value"),
    [(control, *change) for control, changes in BREAKS.items() for change in changes],
)
def test_each_control_is_checked(control: str, path: str, value: Any) -> None:
    assert violations(changed(operator_pod(), path, value)) == [control]


def test_a_container_of_any_kind_is_checked() -> None:
    for kind in ("initContainers", "ephemeralContainers"):
        pod = {**operator_pod(), kind: [{"name": "x"}]}
        assert violations(pod) == ["capabilities", "privilege escalation"]


def test_annotations_are_checked() -> None:
    key = "container.apparmor.security.beta.kubernetes.io/operator"
    assert violations(operator_pod(), {key: "unconfined"}) == ["AppArmor"]
    assert violations(operator_pod(), {key: "runtime/default"}) == []


def test_the_namespace_enforces_it() -> None:
    labels = find("Namespace", "plimsoll-system")["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"

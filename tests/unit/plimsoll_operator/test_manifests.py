"""Manifests: least privilege, Pod Security restricted, and one file that says the same."""

import re
import textwrap
from pathlib import Path
from typing import Any

import yaml

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.commands.operator import DEFAULT_IMAGE, parse
from plimsoll_operator.engines import engine_token
from plimsoll_operator.kube.api_server import TOKEN_KEYS_PATH
from plimsoll_operator.kube.kinds import (
    ACCELERATOR,
    CHILDREN,
    CONFIG_MAP,
    EVENT,
    NODE,
    POD,
    RESOURCE,
)
from plimsoll_operator.render import admin_trust
from plimsoll_operator.render.labels import ADMIN_PORT
from plimsoll_operator.render.networkpolicy import network_policy
from tests.unit.plimsoll_operator.samples import resource

ROOT = Path(__file__).parents[3]
BASE = ROOT / "manifests" / "base"

SPEC = {"model": {"source": "builtin://tiny"}}


def documents(*paths: Path) -> list[dict[str, Any]]:
    return [item for path in paths for item in yaml.safe_load_all(path.read_text("utf-8")) if item]


def base() -> list[dict[str, Any]]:
    names = yaml.safe_load((BASE / "kustomization.yaml").read_text("utf-8"))["resources"]
    paths = [BASE / name for name in names if name.endswith(".yaml")]
    crds = ROOT / "crds"
    more = yaml.safe_load((crds / "kustomization.yaml").read_text("utf-8"))["resources"]
    return documents(*paths, *(crds / name for name in more))


def find(kind: str, name: str) -> dict[str, Any]:
    (found,) = (
        item for item in base() if item["kind"] == kind and item["metadata"]["name"] == name
    )
    return found


def identity(item: dict[str, Any]) -> tuple[str, str]:
    return item["kind"], item["metadata"]["name"]


def test_one_file_says_the_same() -> None:
    installed = documents(ROOT / "manifests" / "install.yaml")
    assert sorted(installed, key=identity) == sorted(base(), key=identity)


def test_operator_role_is_exactly_what_the_code_uses() -> None:
    granted = {
        (group, resource, verb)
        for rule in find("ClusterRole", "plimsoll-operator")["rules"]
        for group in rule.get("apiGroups", ())
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    used = {(RESOURCE.group, f"{RESOURCE.plural}/status", "patch")}
    used.add((RESOURCE.group, f"{RESOURCE.plural}/scale", "update"))
    used.add((RESOURCE.group, RESOURCE.plural, "get"))
    used.add((ACCELERATOR.group, f"{ACCELERATOR.plural}/status", "patch"))
    for kind in (RESOURCE, ACCELERATOR, NODE, POD):
        used |= {(kind.group, kind.plural, verb) for verb in ("list", "watch")}
    for kind in CHILDREN:
        verbs = ("get", "list", "watch", "create", "patch", "delete")
        used |= {(kind.group, kind.plural, verb) for verb in verbs}
    used.add((CONFIG_MAP.group, CONFIG_MAP.plural, "get"))
    # Whom engines let in; see the next test for which ConfigMap.
    used |= {(CONFIG_MAP.group, CONFIG_MAP.plural, verb) for verb in ("create", "patch")}
    used.add((EVENT.group, EVENT.plural, "create"))
    assert granted == used


def test_the_operator_writes_one_config_map_and_reads_one_path() -> None:
    rules = find("ClusterRole", "plimsoll-operator")["rules"]
    writing = [
        rule
        for rule in rules
        if "patch" in rule["verbs"] and CONFIG_MAP.plural in rule.get("resources", ())
    ]
    assert [rule["resourceNames"] for rule in writing] == [[admin_trust.NAME]]
    paths = [rule for rule in rules if "nonResourceURLs" in rule]
    assert paths == [{"nonResourceURLs": [TOKEN_KEYS_PATH], "verbs": ["get"]}]


def test_the_token_for_engines_is_where_the_operator_reads_it() -> None:
    pod = find("Deployment", "plimsoll-operator")["spec"]["template"]["spec"]
    (mount,) = (
        item for item in pod["containers"][0]["volumeMounts"] if item["name"] == "engine-token"
    )
    (volume,) = (item for item in pod["volumes"] if item["name"] == "engine-token")
    (source,) = volume["projected"]["sources"]
    token = source["serviceAccountToken"]
    assert f"{mount['mountPath']}/{token['path']}" == str(engine_token.FILE)
    assert token["audience"] == admin_trust.AUDIENCE


def test_engines_let_in_the_operators_pods() -> None:
    (rule,) = (
        rule
        for rule in network_policy(resource(), LLMDeploymentSpec.model_validate(SPEC))["spec"][
            "ingress"
        ]
        if rule["ports"][0]["port"] == ADMIN_PORT
    )
    (source,) = rule["from"]
    pods = find("Deployment", "plimsoll-operator")["spec"]["template"]["metadata"]["labels"]
    assert source["podSelector"]["matchLabels"].items() <= pods.items()
    namespace = find("Namespace", "plimsoll-system")["metadata"]["labels"]
    assert source["namespaceSelector"]["matchLabels"].items() <= namespace.items()
    egress = find("NetworkPolicy", "plimsoll-operator")["spec"]["egress"]
    assert {"protocol": "TCP", "port": ADMIN_PORT} in egress[-1]["ports"]


def test_readme_names_images_where_they_stand() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    overlay = yaml.safe_load(textwrap.dedent(text))
    assert overlay["resources"] == ["../default"]
    patch = yaml.safe_load(overlay["patches"][0]["patch"])
    deployment = find(patch["kind"], patch["metadata"]["name"])
    assert patch["metadata"].items() <= deployment["metadata"].items()
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith(overlay["images"][0]["name"] + ":")
    (change,) = patch["spec"]["template"]["spec"]["containers"]
    assert change["name"] == container["name"]
    (variable,) = change["env"]
    assert variable["name"] in {each["name"] for each in container["env"]}
    settings, _ = parse(container["args"][1:], {variable["name"]: variable["value"]})
    assert settings.rendering.image == variable["value"]


def test_no_role_has_a_wildcard() -> None:
    for item in base():
        for rule in item.get("rules", ()):
            for entries in rule.values():
                assert "*" not in entries


def test_operator_pod_is_restricted_and_alone() -> None:
    deployment = find("Deployment", "plimsoll-operator")["spec"]
    assert deployment["strategy"] == {"type": "Recreate"}
    assert deployment["replicas"] == 1
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"]["drop"] == ["ALL"]
    assert "memory" in container["resources"]["limits"]
    namespace = find("Namespace", "plimsoll-system")["metadata"]["labels"]
    assert namespace["pod-security.kubernetes.io/enforce"] == "restricted"


def test_arguments_are_ones_that_the_command_takes() -> None:
    (container,) = find("Deployment", "plimsoll-operator")["spec"]["template"]["spec"]["containers"]
    command, *arguments = container["args"]
    assert command == "operator"
    settings, _ = parse(arguments, {})
    assert settings.rendering.image == DEFAULT_IMAGE
    assert settings.namespaces == ()
    (port,) = container["ports"]
    assert settings.http_port == port["containerPort"]


def test_arguments_and_environment() -> None:
    settings, level = parse(
        ["--namespace", "a", "--namespace", "b"],
        {"PLIMSOLL_RUNTIME_IMAGE": "x:1", "PLIMSOLL_WORKERS": "3", "PLIMSOLL_LOG_LEVEL": "debug"},
    )
    assert settings.namespaces == ("a", "b")
    assert settings.rendering.image == "x:1"
    assert (settings.workers, level) == (3, "debug")

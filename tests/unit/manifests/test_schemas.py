"""Every manifest against Kubernetes' own schemas, unknown fields included."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.unit.manifests.shipped import MANIFESTS, ROOT, documents

OLDEST = "1.30.0"  # with ValidatingAdmissionPolicy and preStop's sleep
VERSIONS = (OLDEST, kubernetes_validate.latest_version())
# Ours, which tests of the API judge, and those of other projects.
FOREIGN = (
    "plimsoll.dev",
    "monitoring.coreos.com",
    "argoproj.io",
    "kustomize.toolkit.fluxcd.io",
    "keda.sh",
)
SHIPPED = [
    path
    for path in sorted(MANIFESTS.rglob("*.yaml"))
    if path.name != "kustomization.yaml" and not path.name.startswith("inventory-")
]
RENDERED = sorted((ROOT / "tests" / "golden" / "render").glob("v*/*.yaml"))


def known(path: Path) -> list[dict[str, Any]]:
    """The documents in a file that Kubernetes itself defines."""
    return [item for item in documents(path) if item["apiVersion"].partition("/")[0] not in FOREIGN]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", [*SHIPPED, *RENDERED], ids=lambda path: path.name)
def test_manifests_fit_the_schema(path: Path, version: str) -> None:
    if version == OLDEST and "oci" in path.name:
        pytest.skip("image volumes are newer")
    for item in known(path):
        kubernetes_validate.validate(item, version, strict=True)


def test_the_schema_notices() -> None:
    (service,) = known(MANIFESTS / "base" / "service.yaml")
    for spec in ({"prots": []}, {"ports": [{"port": "http"}]}):
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate({**service, "spec": spec}, OLDEST, strict=True)


def test_most_of_what_is_shipped_is_checked() -> None:
    kinds = {item["kind"] for path in SHIPPED for item in known(path)}
    assert kinds >= {
        *("Namespace", "ClusterRole", "ClusterRoleBinding", "Deployment", "NetworkPolicy"),
        *("CustomResourceDefinition", "ValidatingAdmissionPolicy", "Service"),
    }

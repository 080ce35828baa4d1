"""Admission by the real API server: who may name what, and what tenants may ask for."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import yaml

from e2e.support.kubectl import Kubectl, Object, eventually
from e2e.support.resources import tiny

LIMITS = Path(__file__).parents[2] / "manifests" / "components" / "limits"
TENANT = "tenant"
CONFIG = {"configMapKeyRef": {"name": "facts"}}
MODELS = {
    "configmaps": {"source": "oci://registry.example/model:1", "configFrom": CONFIG},
    "persistentvolumeclaims": {"source": "pvc://weights/model", "configFrom": CONFIG},
}


def rights(*resources: str) -> tuple[Object, Object]:
    """A role that declares deployments and gets `resources`, and its binding."""
    rules = [
        {"apiGroups": ["plimsoll.dev"], "resources": ["llmdeployments"],
         "verbs": ["create", "get", "patch", "delete"]},
        *({"apiGroups": [""], "resources": [each], "verbs": ["get"]} for each in resources),
    ]  # fmt: skip
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": TENANT}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": TENANT}
    kinds = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": TENANT}}
    return (
        {**kinds, "kind": "Role", "rules": rules},
        {**kinds, "kind": "RoleBinding", "roleRef": reference, "subjects": [subject]},
    )


def allowed(kubectl: Kubectl, resource: Object, *options: str) -> bool:
    """Whether the API server would take the object."""
    return not answer(kubectl, resource, *options)


def told(kubectl: Kubectl, resource: Object, as_whom: str, what: str) -> bool:
    """Whether the API server's answer says so."""
    return what in answer(kubectl, resource, as_whom)


def answer(kubectl: Kubectl, resource: Object, *options: str) -> str:
    """What the API server says to a dry run; empty where it would take the object."""
    text = yaml.safe_dump(resource)
    done = kubectl.run(
        "apply", "--server-side", "--dry-run=server", *options, "-f", "-", stdin=text, check=False
    )
    return done.stderr.strip() if done.returncode else ""


def test_who_names_an_object_must_be_allowed_to_read_it(kubectl: Kubectl) -> None:
    as_tenant = f"--as={TENANT}"
    kubectl.apply(*rights())
    eventually("the tenant's role", lambda: not answer(kubectl, tiny("plain"), as_tenant))
    for resource, model in MODELS.items():
        named = tiny("named", model=model)
        assert not answer(kubectl, named)
        refused = answer(kubectl, named, as_tenant)
        assert f"{TENANT} may not get the ConfigMap that configFrom names: facts" in refused
        kubectl.apply(*rights("configmaps"))
        if resource == "configmaps":
            eventually("the right", partial(allowed, kubectl, named, as_tenant))
        else:
            claim = f"{TENANT} may not get the PersistentVolumeClaim that source names: weights"
            eventually("told", partial(told, kubectl, named, as_tenant, claim))
            kubectl.apply(*rights("configmaps", resource))
            eventually("the right", partial(allowed, kubectl, named, as_tenant))
        kubectl.apply(*rights())
        eventually("no right", partial(answer, kubectl, named, as_tenant))
    kubectl.run("delete", "role,rolebinding", TENANT)


@pytest.fixture
def limits(kubectl: Kubectl) -> Iterator[None]:
    """The shipped limits, in force."""
    files = ("-f", str(LIMITS / "limits.yaml"), "-f", str(LIMITS / "policy.yaml"))
    system = replace(kubectl, namespace="plimsoll-system")
    system.run("apply", *files)
    eventually("limits in force", lambda: bool(answer(kubectl, scaled(17))))
    yield
    system.run("delete", *files)


def scaled(replicas: int) -> Object:
    return tiny("scaled", scaling={"minReplicas": 1, "maxReplicas": replicas})


def test_tenants_stay_within_limits(kubectl: Kubectl, limits: None) -> None:
    assert "must be at most 16 here" in answer(kubectl, scaled(17))
    assert not answer(kubectl, scaled(16))
    pinned = {"revision": "0123abc"}
    assert not answer(kubectl, tiny("a", model={"source": "hf://HuggingFaceTB/a", **pinned}))
    told = answer(kubectl, tiny("a", model={"source": "hf://HuggingFaceTBx/a", **pinned}))
    assert "source is not among those allowed here: hf://HuggingFaceTBx/a" in told
    assert answer(kubectl, tiny("a", accelerators={"maxPerReplica": 9}))
    draft = {"method": "DraftModel", "draftModel": {"source": "hf://other/a", **pinned}}
    assert "hf://other/a" in answer(kubectl, tiny("a", speculation=draft))

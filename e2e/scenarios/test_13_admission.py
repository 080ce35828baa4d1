"""Admission by the real API server: who may name what, and what tenants may ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from e2e.support.kubectl import Kubectl, Object, eventually
from e2e.support.resources import tiny

LIMITS = Path(__file__).parents[2] / "manifests" / "components" / "limits" / "policy.yaml"
TENANT = "tenant"
CONFIG = {"configMapKeyRef": {"name": "facts"}}
HUB: Object = {"source": "hf://org/model", "revision": "0123abc"}
MODELS: tuple[Object, Object] = (
    {"source": "oci://registry.example/model:1", "configFrom": CONFIG},
    {"source": "pvc://weights/model", "configFrom": CONFIG},
)


def rights(*resources: str, pods: bool = False) -> tuple[Object, Object]:
    """A role that declares deployments, gets `resources` and may create pods, and its binding."""
    rules = [
        {"apiGroups": ["plimsoll.dev"], "resources": ["llmdeployments"],
         "verbs": ["create", "get", "patch", "delete"]},
        *({"apiGroups": [""], "resources": [each], "verbs": ["get"]} for each in resources),
        *([{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}] if pods else ()),
    ]  # fmt: skip
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": TENANT}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": TENANT}
    kinds = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": TENANT}}
    return (
        {**kinds, "kind": "Role", "rules": rules},
        {**kinds, "kind": "RoleBinding", "roleRef": reference, "subjects": [subject]},
    )


def answer(kubectl: Kubectl, resource: Object, *options: str) -> str:
    """What the API server says to a dry run; empty where it would take the object."""
    text = yaml.safe_dump(resource)
    done = kubectl.run(
        "apply", "--server-side", "--dry-run=server", *options, "-f", "-", stdin=text, check=False
    )
    return done.stderr.strip() if done.returncode else ""


def allowed(kubectl: Kubectl, resource: Object) -> bool:
    return not answer(kubectl, resource, f"--as={TENANT}")


def test_who_names_an_object_must_be_allowed_to_read_it(kubectl: Kubectl) -> None:
    kubectl.apply(*rights())
    eventually("the tenant's role", lambda: allowed(kubectl, tiny("plain")))
    image, claim = (tiny("named", model=model) for model in MODELS)
    replayed = tiny("named", workload={"trace": {"configMapKeyRef": {"name": "facts"}}})
    for resource in (image, claim, replayed):
        assert not answer(kubectl, resource)
        told = answer(kubectl, resource, f"--as={TENANT}")
        assert f"{TENANT} may not get the ConfigMap that configFrom or trace names: facts" in told
    kubectl.apply(*rights("configmaps"))
    eventually("the right to ConfigMaps", lambda: allowed(kubectl, image))
    assert allowed(kubectl, replayed)
    told = answer(kubectl, claim, f"--as={TENANT}")
    assert (
        f"{TENANT} may not get the PersistentVolumeClaim that source or cache names: weights"
        in told
    )
    kubectl.apply(*rights("configmaps", "persistentvolumeclaims"))
    eventually("the right to claims", lambda: allowed(kubectl, claim))
    token = {"secretKeyRef": {"name": "hub"}}
    gated = tiny("named", model={**HUB, "tokenFrom": token, "cache": {"claimName": "models"}})
    locked = tiny("named", authentication={"apiKeysFrom": {"secretKeyRef": {"name": "clients"}}})
    shown = tiny("named", tls={"certificateFrom": {"secretRef": {"name": "chat-tls"}}})
    for resource, name in ((gated, "hub"), (locked, "clients"), (shown, "chat-tls")):
        assert not answer(kubectl, resource)
        told = answer(kubectl, resource, f"--as={TENANT}")
        named = "the Secret that tokenFrom, apiKeysFrom or tls names"
        assert f"{TENANT} may not get {named}: {name}" in told
    laid_over = tiny("named", template={"spec": {"priorityClassName": "high"}})
    assert not answer(kubectl, laid_over)
    told = answer(kubectl, laid_over, f"--as={TENANT}")
    assert f"{TENANT} may not create pods, and so not set a template" in told
    kubectl.apply(*rights("configmaps", "persistentvolumeclaims", "secrets", pods=True))
    eventually(
        "the rights to all",
        lambda: all(allowed(kubectl, each) for each in (gated, locked, shown, laid_over)),
    )
    kubectl.run("delete", "role,rolebinding", TENANT)


@pytest.fixture
def limits(kubectl: Kubectl) -> Iterator[None]:
    """The shipped limits, in force."""
    kubectl.run("apply", "-f", str(LIMITS))
    eventually("limits in force", lambda: bool(answer(kubectl, scaled(17))))
    yield
    kubectl.run("delete", "-f", str(LIMITS))


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

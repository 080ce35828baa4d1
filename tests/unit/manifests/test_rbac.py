"""The operator may do what it does, and nothing else: each right has a call that needs it."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from plimsoll_operator.accelerator_keeper import Accelerators
from plimsoll_operator.engines.admin_access import AdminAccess
from plimsoll_operator.engines.engine_token import EngineToken
from plimsoll_operator.kube import handlers
from plimsoll_operator.kube.api_server import MERGE_PATCH, Cluster, ClusterError
from plimsoll_operator.kube.kinds import (
    ACCELERATOR,
    BY_NAME,
    CHILDREN,
    CONFIG_MAP,
    RESOURCE,
    WATCHED,
    Kind,
)
from plimsoll_operator.manager import Manager
from tests.unit.manifests.shipped import ROOT, find, installed
from tests.unit.plimsoll_operator.conftest import start as start  # noqa: PLC0414 - a fixture
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.process import EASY, KEY, NODE, Start, edit
from tests.unit.plimsoll_operator.samples import NOW, UID, raw_resource
from tests.unit.plimsoll_operator.tokens import KEYS, token_file


class Right(NamedTuple):
    """API group, resource with subresource or a path, verb, and the one name that it is for."""

    group: str
    resource: str
    verb: str
    name: str = ""


JWKS = Right("", "/openid/v1/jwks", "get")
"""Public keys of ServiceAccount tokens."""
TRUST = "plimsoll-admin"
"""The ConfigMap that tells engines whom to let in."""
CONFIG = ROOT / "tests" / "data" / "models" / "HuggingFaceTB--SmolLM2-135M.json"


def granted() -> set[Right]:
    return {
        Right(group, resource, verb, name)
        for rule in find("ClusterRole", "plimsoll-operator")["rules"]
        for group in rule.get("apiGroups", [""])
        for resource in rule.get("resources", []) + rule.get("nonResourceURLs", [])
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


class Guarded(MemoryCluster):
    """Answers 403 to what `rights` do not allow, and keeps which of them were needed."""

    def __init__(self, rights: set[Right]) -> None:
        super().__init__()
        self.rights = rights
        self.needed: set[Right] = set()
        self.denied: set[Right] = set()

    def _need(self, kind: Kind, verb: str, subresource: str = "", name: str = "") -> None:
        self._need_right(Right(kind.group, kind.plural + subresource, verb, name))

    def _need_right(self, right: Right) -> None:
        self.needed.add(right)
        if right not in self.rights:
            self.denied.add(right)
            raise ClusterError(403, "Forbidden", f"may not {right.verb} {right.resource}")

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        self._need(kind, "get")
        return await super().get(kind, namespace, name)

    async def version(self, kind: Kind, namespace: str, name: str) -> str | None:
        self._need(kind, "get")
        return await super().version(kind, namespace, name)

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        kept: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> tuple[list[dict[str, Any]], str]:
        self._need(kind, "list")
        return await super().list(kind, namespace, kept)

    async def apply(self, child: Any) -> dict[str, Any]:
        kind = BY_NAME[child["kind"]]
        metadata = child["metadata"]
        # Children bear any name; the one ConfigMap that is written has one of its own.
        name = metadata["name"] if kind is CONFIG_MAP else ""
        self._need(kind, "patch", name=name)
        if (kind.name, metadata["namespace"], metadata["name"]) not in self.objects:
            # Server-side apply of what does not exist is a creation too, and by its name.
            self._need(kind, "create", name=name)
        return await super().apply(child)

    async def apply_status(self, kind: Kind, raw: Any, status: dict[str, Any]) -> dict[str, Any]:
        self._need(kind, "patch", "/status")
        return await super().apply_status(kind, raw, status)

    async def scale(self, kind: Kind, raw: Any, replicas: int) -> None:
        self._need(kind, "update", "/scale")
        await super().scale(kind, raw, replicas)

    async def renumber(
        self, kind: Kind, namespace: str, name: str, uid: str, number: int, *, owner: Any = None
    ) -> dict[str, Any]:
        self._need(kind, "patch")
        return await super().renumber(kind, namespace, name, uid, number, owner=owner)

    async def create(self, kind: Kind, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        self._need(kind, "create")
        return await super().create(kind, namespace, body)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        self._need(kind, "delete")
        await super().delete(kind, namespace, name, uid)

    async def token_keys(self) -> tuple[dict[str, Any], ...]:
        self._need_right(JWKS)
        return tuple(KEYS)


async def year(cluster: Guarded, start: Start, folder: Path) -> None:
    """All that an operator comes to do: create, scale, edit, mend, clear away, tell."""
    process = start(cluster)
    cluster.put("Node", NODE)
    cluster.put(ACCELERATOR.name, {"metadata": {"name": "l4"}, "spec": {"products": ["L4"]}})
    external = {**EASY, "scaling": {"mode": "External", "maxReplicas": 2}}
    cluster.put(RESOURCE.name, raw_resource(spec=external))
    config = json.dumps(json.loads(CONFIG.read_text("utf-8")))
    metadata = {"namespace": "ml", "name": "facts"}
    cluster.put(CONFIG_MAP.name, {"metadata": metadata, "data": {"config.json": config}})
    await process.settle()
    for kind in CHILDREN:
        cluster.put(kind.name, _stray(kind))
    for change in (
        {"revisionHistoryLimit": 0},
        {"workload": {"requestsPerSecond": "2"}},
        {"model": {"source": "pvc://claim", "configFrom": {"configMapKeyRef": {"name": "facts"}}}},
    ):
        edit(cluster, **change)
        await process.settle()
    client = cast("Cluster", cluster)
    await Accelerators(process.store, client, lambda: NOW).tell()
    await AdminAccess(process.store, client, EngineToken(token_file(folder))).tell()


def _stray(kind: Kind) -> dict[str, Any]:
    """A child of ours of a name that is not wanted, as an earlier version may leave one."""
    owner = {"uid": UID, "controller": True, "kind": RESOURCE.name, "name": KEY[1]}
    labels = dict(pair.split("=") for pair in kind.selector.split(","))
    return {
        "metadata": {
            "namespace": KEY[0],
            "name": "stray",
            "labels": {**labels, "app.kubernetes.io/instance": KEY[1]},
            "ownerReferences": [owner],
        }
    }


def watched() -> set[Right]:
    """What kopf watches by our handlers; it lists before."""
    registry = handlers.registry(cast("Manager", None), asyncio.Event())
    selectors = {handler.selector for handler in registry._watching.get_all_handlers()}
    named = {(each.group, each.any_name) for each in selectors if each is not None}
    assert named == {(kind.group, kind.plural) for kind in WATCHED}
    return {Right(group, plural, verb) for group, plural in named for verb in ("list", "watch")}


async def test_what_is_granted_is_what_calls_need(start: Start, tmp_path: Path) -> None:
    cluster = Guarded(granted())
    await year(cluster, start, tmp_path)
    assert cluster.denied == set()
    assert granted() == cluster.needed | watched()


@pytest.mark.parametrize(
    "right",
    [
        Right("apps", "deployments", "create"),
        Right("", "configmaps", "get"),
        Right("", "configmaps", "create", TRUST),
        Right("", "configmaps", "patch", TRUST),
        JWKS,
    ],
    ids="/".join,
)
async def test_without_a_right_something_fails(right: Right, start: Start, tmp_path: Path) -> None:
    cluster = Guarded(granted() - {right})
    with contextlib.suppress(ClusterError):
        await year(cluster, start, tmp_path)
    assert cluster.denied == {right}


Call = Callable[[Cluster], Awaitable[Any]]
RAW = {"metadata": {"name": "a", "namespace": "ml", "uid": "u", "resourceVersion": "1"}}
CHILD = {"kind": "Service", "metadata": {"name": "a", "namespace": "ml"}}
HTTP: dict[str, tuple[Call, str, str]] = {
    "get": (lambda it: it.get(RESOURCE, "ml", "a"), "GET", "/llmdeployments/a"),
    "version": (lambda it: it.version(RESOURCE, "ml", "a"), "GET", "/llmdeployments/a"),
    "list": (lambda it: it.list(RESOURCE), "GET", "/llmdeployments"),
    "apply": (lambda it: it.apply(CHILD), "PATCH", "/services/a"),
    "apply_status": (lambda it: it.apply_status(RESOURCE, RAW, {}), "PATCH", "/a/status"),
    "scale": (lambda it: it.scale(RESOURCE, RAW, 1), "PUT", "/a/scale"),
    "renumber": (lambda it: it.renumber(RESOURCE, "ml", "a", "u", 2), "PATCH", "/a"),
    "create": (lambda it: it.create(RESOURCE, "ml", {}), "POST", "/llmdeployments"),
    "delete": (lambda it: it.delete(RESOURCE, "ml", "a", "u"), "DELETE", "/a"),
    "token_keys": (lambda it: it.token_keys(), "GET", JWKS.resource),
}


@pytest.mark.parametrize("name", HTTP)
async def test_calls_are_the_requests_that_they_are_taken_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, method, end = HTTP[name]
    sent: list[tuple[str, str]] = []

    async def record(method: str, path: str, *rest: Any, media: str = "") -> dict[str, Any]:
        assert method != "PATCH" or name != "renumber" or rest[-1] == MERGE_PATCH
        sent.append((method, path))
        return {"metadata": {"resourceVersion": "1"}}

    cluster = Cluster(cast("Any", None))
    monkeypatch.setattr(cluster, "_call", record)
    await call(cluster)
    assert len(sent) == 1
    assert sent[0][0] == method
    assert sent[0][1].endswith(end)


def test_every_call_of_the_cluster_is_judged() -> None:
    public = {name for name, value in vars(Cluster).items() if callable(value) and name[0] != "_"}
    # `edit` is for people, with rights of their own.
    assert public - {"connect", "default_namespace", "close", "edit"} == set(HTTP)
    assert {name for name in vars(Guarded) if name[0] != "_"} == set(HTTP)


FORBIDDEN = {"secrets", "pods/exec", "pods/attach", "pods/portforward", "serviceaccounts/token"}
ESCALATING = {"escalate", "bind", "impersonate", "approve", "sign"}


def test_no_role_reaches_what_nobody_here_needs() -> None:
    roles = [item for item in installed() if item["kind"] in ("Role", "ClusterRole")]
    assert len(roles) == 4
    for item in roles:
        for rule in item["rules"]:
            assert not FORBIDDEN & set(rule.get("resources", ()))
            assert not ESCALATING & set(rule["verbs"])
            assert not any("*" in entry for entries in rule.values() for entry in entries)
    rules = [rule for item in roles for rule in item["rules"]]
    assert [rule for rule in rules if "nonResourceURLs" in rule] == [
        {"nonResourceURLs": [JWKS.resource], "verbs": [JWKS.verb]}
    ]
    assert [rule for rule in rules if "resourceNames" in rule] == [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": [TRUST],
            "verbs": ["create", "patch"],
        }
    ]


def test_only_the_operator_is_bound() -> None:
    (binding,) = (item for item in installed() if item["kind"].endswith("RoleBinding"))
    (subject,) = binding["subjects"]
    assert binding["roleRef"]["name"] == subject["name"] == "plimsoll-operator"
    account = find("ServiceAccount", subject["name"])
    assert account["metadata"]["namespace"] == subject["namespace"]

"""A cluster in memory with the face of `Cluster`, which can refuse or crash at any write."""

import copy
import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

from plimsoll_operator.kube.api_server import ClusterError
from plimsoll_operator.kube.kinds import RESOURCE, Kind
from tests.unit.plimsoll_operator.samples import ROLLED_OUT, merged

MAX_STATUS_BYTES = 16 << 10
"""Of any status that any test brings about. The store, and each list, holds one a resource."""


class CrashError(Exception):
    """The process ends here."""


class MemoryCluster:
    """Objects by kind, namespace and name.

    `before_write` may raise before the k-th write, `admit` before one of a verb, kind and name.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.events: list[dict[str, Any]] = []
        self.before_write: Callable[[int], None] = lambda _: None
        self.admit: Callable[[str, str, str], None] = lambda *_: None
        self._versions = itertools.count(1)

    def put(self, kind: str, item: Mapping[str, Any]) -> dict[str, Any]:
        metadata = item["metadata"]
        key = (kind, metadata.get("namespace", ""), metadata["name"])
        stored = copy.deepcopy(dict(item))
        stored["metadata"].setdefault("uid", f"uid of {'/'.join(key)}")
        stored["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[key] = stored
        return copy.deepcopy(stored)

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.objects.get((kind.name, namespace, name)))

    async def version(self, kind: Kind, namespace: str, name: str) -> str | None:
        found = self.objects.get((kind.name, namespace, name))
        return None if found is None else str(found["metadata"]["resourceVersion"])

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        kept: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> tuple[list[dict[str, Any]], str]:
        found = [
            kept(copy.deepcopy(item))
            for (name, where, _), item in sorted(self.objects.items())
            if name == kind.name and namespace in (None, where) and _selected(kind, item)
        ]
        return found, str(next(self._versions))

    async def apply(self, child: Mapping[str, Any]) -> dict[str, Any]:
        metadata = child["metadata"]
        key = (child["kind"], metadata["namespace"], metadata["name"])
        self._write("apply", *key[::2])
        before = self.objects.get(key, {})
        after = merged(before, child)
        after["metadata"].setdefault("generation", 0)
        if before.get("spec") != after.get("spec"):
            after["metadata"]["generation"] += 1
        if before == after:
            return copy.deepcopy(before)
        return self.put(child["kind"], after)

    async def apply_status(
        self, kind: Kind, raw: Mapping[str, Any], status: dict[str, Any]
    ) -> dict[str, Any]:
        metadata = raw["metadata"]
        self._write("status", kind.name, metadata["name"])
        stored = self.objects.get((kind.name, metadata.get("namespace", ""), metadata["name"]))
        if stored is None:
            raise ClusterError(404, "NotFound", "gone")
        if stored["metadata"]["uid"] != metadata["uid"]:
            raise ClusterError(409, "Conflict", "another object")
        assert len(json.dumps(status)) <= MAX_STATUS_BYTES, status
        return self.put(kind.name, {**stored, "status": status})

    async def renumber(
        self, kind: Kind, namespace: str, name: str, uid: str, number: int, *, owner: Any = None
    ) -> dict[str, Any]:
        self._write("renumber", kind.name, name)
        stored = self.objects.get((kind.name, namespace, name))
        if stored is None:
            raise ClusterError(404, "NotFound", "gone")
        if stored["metadata"]["uid"] != uid:
            raise ClusterError(409, "Conflict", "another object")
        owners = {} if owner is None else {"ownerReferences": [owner]}
        metadata = {**stored["metadata"], **owners}
        return self.put(kind.name, {**stored, "metadata": metadata, "revision": number})

    async def scale(self, kind: Kind, raw: Mapping[str, Any], replicas: int) -> None:
        metadata = raw["metadata"]
        self._write("scale", kind.name, metadata["name"])
        stored = self.objects.get((kind.name, metadata["namespace"], metadata["name"]))
        if stored is None:
            raise ClusterError(404, "NotFound", "gone")
        if stored["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise ClusterError(409, "Conflict", "changed meanwhile")
        generation = stored["metadata"].get("generation", 0) + 1
        self.put(
            kind.name,
            {
                **stored,
                "metadata": {**stored["metadata"], "generation": generation},
                "spec": {**stored["spec"], "replicas": replicas},
            },
        )

    async def edit(
        self, kind: Kind, raw: Mapping[str, Any], patch: dict[str, Any], *, dry_run: bool = False
    ) -> dict[str, Any]:
        metadata = raw["metadata"]
        self._write("edit", kind.name, metadata["name"])
        stored = self.objects[kind.name, metadata["namespace"], metadata["name"]]
        if stored["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise ClusterError(409, "Conflict", "changed meanwhile")
        after = _patched(stored, patch)
        if after["spec"] != stored["spec"]:
            after["metadata"]["generation"] += 1
        return after if dry_run else self.put(kind.name, after)

    async def create(self, kind: Kind, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        self._write("create", kind.name, body["metadata"]["generateName"])
        self.events.append(body)
        return body

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        self._write("delete", kind.name, name)
        self.objects.pop((kind.name, namespace, name), None)

    def roll_out(self) -> None:
        """All Deployments reach what they are asked for."""
        for (kind, _, _), item in list(self.objects.items()):
            if kind == "Deployment":
                count = item["spec"]["replicas"]
                status = {
                    "observedGeneration": item["metadata"]["generation"],
                    "replicas": count,
                    "updatedReplicas": count,
                    "readyReplicas": count,
                    "conditions": [ROLLED_OUT],
                }
                if item.get("status") != status:
                    self.put(kind, {**item, "status": status})

    def rendered(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """Children as they were applied."""
        bare = {}
        for key, item in self.objects.items():
            if key[0] not in (RESOURCE.name, "Node"):
                plain = copy.deepcopy(item)
                plain.pop("status", None)
                for field in ("uid", "resourceVersion", "generation"):
                    plain["metadata"].pop(field, None)
                bare[key] = plain
        return bare

    def _write(self, verb: str, kind: str, name: str) -> None:
        self.before_write(len(self.writes))
        self.admit(verb, kind, name)
        self.writes.append((verb, kind, name))


def _selected(kind: Kind, item: Mapping[str, Any]) -> bool:
    labels = item["metadata"].get("labels") or {}
    wanted = (pair.split("=", 1) for pair in kind.selector.split(",") if pair)
    return all(labels.get(key) == value for key, value in wanted) and _of_fields(kind, item)


def _of_fields(kind: Kind, item: Mapping[str, Any]) -> bool:
    """By `path=value` and `path!=value`, of which all must hold."""
    for term in filter(None, kind.fields.split(",")):
        path, value = term.replace("!=", "=").split("=")
        part, name = path.split(".")
        if ((item.get(part) or {}).get(name, "") == value) is ("!=" in term):
            return False
    return True


def _patched(there: Any, patch: Any) -> Any:
    """By RFC 7396."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = copy.deepcopy(there) if isinstance(there, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _patched(result.get(key), value)
    return result

"""The objects of an API server in memory, and who watches them."""

import asyncio
import copy
import json
import time
import uuid
from typing import Any

from plimsoll_operator.kube.kinds import BY_NAME

Object = dict[str, Any]
Id = tuple[str, str]
"""Namespace, empty without one, and name."""
_NO_GENERATION = frozenset({"Node", "Pod", "Service", "ServiceAccount", "ControllerRevision"})


def now() -> str:
    """As the API writes times."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def identity(item: Object) -> Id:
    return (str(item["metadata"].get("namespace", "")), str(item["metadata"]["name"]))


class Objects:
    """By kind, namespace and name, with versions and managedFields as the API server has them."""

    def __init__(self) -> None:
        self.version = 1000
        self.kinds: dict[str, dict[Id, Object]] = {kind: {} for kind in BY_NAME}
        self._watches: dict[str, list[tuple[str, asyncio.Queue[bytes]]]] = {
            kind: [] for kind in BY_NAME
        }

    def get(self, kind: str, at: Id) -> Object | None:
        return self.kinds[kind].get(at)

    def selected(self, kind: str, selector: str, namespace: str | None = None) -> list[Object]:
        """In name order; all of a kind in one namespace or in all."""
        return [
            item
            for (within, _), item in sorted(self.kinds[kind].items())
            if namespace in (None, within) and _matches(item, selector)
        ]

    def create(self, kind: str, item: Object, manager: str, operation: str) -> Object:
        """Takes `item` as a new object, written by `manager`."""
        metadata = item["metadata"]
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", now())
        if kind not in _NO_GENERATION:
            metadata["generation"] = 1
        metadata["managedFields"] = [managed(item, manager, operation)]
        return self.put(kind, item)

    def put(self, kind: str, item: Object) -> Object:
        """Stores `item` as the next version, and tells who watches."""
        known = identity(item) in self.kinds[kind]
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.kinds[kind][identity(item)] = item
        self._tell(kind, "MODIFIED" if known else "ADDED", item)
        return item

    def delete(self, kind: str, at: Id) -> None:
        item = self.kinds[kind].pop(at)
        self.version += 1
        gone = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
        self._tell(kind, "DELETED", gone)

    def watch(self, kind: str, selector: str, since: int) -> asyncio.Queue[bytes]:
        """A queue of lines: what is newer than the version `since`, then what follows."""
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        for item in self.selected(kind, selector):
            if int(item["metadata"]["resourceVersion"]) > since:
                queue.put_nowait(_line("MODIFIED", item))
        self._watches[kind].append((selector, queue))
        return queue

    def unwatch(self, kind: str, queue: asyncio.Queue[bytes]) -> None:
        self._watches[kind] = [pair for pair in self._watches[kind] if pair[1] is not queue]

    def _tell(self, kind: str, event: str, item: Object) -> None:
        line = _line(event, item)
        for selector, queue in self._watches[kind]:
            if _matches(item, selector):
                queue.put_nowait(line)


def managed(item: Object, manager: str, operation: str, subresource: str = "") -> Object:
    """An entry of managedFields: half of what the API server sends of an object."""
    owned = {key: value for key, value in item.items() if key not in ("apiVersion", "kind")}
    entry = {
        "manager": manager,
        "operation": operation,
        "apiVersion": item.get("apiVersion", ""),
        "time": now(),
        "fieldsType": "FieldsV1",
        "fieldsV1": _fields(owned),
    }
    return {**entry, "subresource": subresource} if subresource else entry


def merged(before: Any, patch: Any) -> Any:
    """`patch` laid over `before`; lists are replaced."""
    if isinstance(before, dict) and isinstance(patch, dict):
        return before | {key: merged(before.get(key), value) for key, value in patch.items()}
    return copy.deepcopy(patch)


def _fields(value: Any) -> Object:
    return {f"f:{k}": _fields(v) for k, v in value.items()} if isinstance(value, dict) else {}


def _matches(item: Object, selector: str) -> bool:
    labels = item["metadata"].get("labels") or {}
    pairs = (pair.split("=", 1) for pair in selector.split(",") if pair)
    return all(labels.get(key) == value for key, value in pairs)


def _line(event: str, item: Object) -> bytes:
    return json.dumps({"type": event, "object": item}, separators=(",", ":")).encode() + b"\n"

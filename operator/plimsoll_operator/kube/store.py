"""What the watches and our own writes have shown of the cluster, newest versions only.

Watches deliver in order but late, and our own writes are known before the watch tells of them; so
an object only ever replaces an older one.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from plimsoll_operator.kube.kinds import ACCELERATOR, CHILDREN, NODE, POD, RESOURCE
from plimsoll_operator.kube.pruning import prune, without_version
from plimsoll_operator.render.labels import INSTANCE_LABEL
from plimsoll_operator.resource import Key, Resource, parse_resource

Object = Mapping[str, Any]
_Id = tuple[str, str]
_MAX_GONE = 10_000
_CHILD_KINDS = frozenset(kind.name for kind in CHILDREN)
_INVENTORY_KINDS = frozenset({NODE.name, ACCELERATOR.name})
"""Kinds that say what plans may use."""


class Store:
    """Objects by kind, namespace and name; children and pods also by the resource they belong to.

    Not thread-safe: only the event loop touches it.
    """

    def __init__(self) -> None:
        self._objects: dict[str, dict[_Id, Object]] = {}
        self._instances: dict[str, dict[Key, dict[str, Object]]] = {}
        self._belongs: dict[tuple[str, _Id], Key] = {}
        self._latest: dict[str, Object] = {}
        self._parsed: dict[Key, tuple[Object, Resource]] = {}
        self._calibrated: dict[str, dict[_Id, Object]] = {}
        self._calibrates: dict[_Id, str] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self.inventory_version = 0

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        return self._objects.get(kind, {}).get((namespace, name))

    def resource(self, key: Key) -> Resource | None:
        """The resource, parsed once a version."""
        raw = self.get(RESOURCE.name, *key)
        if raw is None:
            return None
        known = self._parsed.get(key)
        if known is None or known[0] is not raw:
            # Most changes are of the status, and by ourselves; then the spec is the very same.
            same = known is not None and known[0].get("spec") is raw.get("spec")
            before = known[1] if known is not None and same else None
            known = self._parsed[key] = (raw, parse_resource(raw, before))
        return known[1]

    def calibrations(self, model: str) -> list[Object]:
        """What the statuses of resources say was measured of that model, in name order."""
        return [item for _, item in sorted(self._calibrated.get(model, {}).items())]

    def all(self, kind: str) -> Iterator[Object]:
        """All objects of a kind in name order."""
        for _, item in sorted(self._objects.get(kind, {}).items()):
            yield item

    def resource_keys(self) -> list[Key]:
        """Keys of all resources."""
        return sorted(self._objects.get(RESOURCE.name, {}))

    def of_instance(self, kind: str, key: Key) -> tuple[Object, ...]:
        """Objects of a kind that bear the label of the resource `key`, in name order."""
        found = self._instances.get(kind, {}).get(key, {})
        return tuple(found[name] for name in sorted(found))

    def put(self, kind: str, item: Object) -> bool:
        """Takes `item` unless a newer version is known. Returns whether it was news."""
        identity, uid = _identity(item), item["metadata"]["uid"]
        if uid in self._gone:
            return False
        known = self._objects.get(kind, {}).get(identity)
        same = known if known is not None and known["metadata"]["uid"] == uid else None
        if same is not None and _version(item) <= _version(same):
            return False
        # Much of an object is as it was before, or as it is in the one that came last.
        pruned = self._latest[kind] = prune(kind, item, same or self._latest.get(kind, {}))
        identity = _identity(pruned)  # in strings that are shared
        self._objects.setdefault(kind, {})[identity] = pruned
        self._index(kind, identity, pruned)
        # Much changes that nobody here reads, such as heartbeats of nodes, or who owns a field.
        quiet = same is not None and without_version(same) == without_version(pruned)
        self.inventory_version += not quiet and kind in _INVENTORY_KINDS
        return not quiet

    def remove(self, kind: str, item: Object) -> bool:
        """Forgets the object if it still is the same one. Returns whether it was known.

        An answer to a write of ours that comes later than this does not bring it back.
        """
        self._gone[str(item["metadata"]["uid"])] = None
        if len(self._gone) > _MAX_GONE:
            self._gone.popitem(last=False)
        identity = _identity(item)
        known = self._objects.get(kind, {}).get(identity)
        if known is None or known["metadata"]["uid"] != item["metadata"]["uid"]:
            return False
        del self._objects[kind][identity]
        self._index(kind, identity, None)
        if kind == RESOURCE.name:
            self._parsed.pop(identity, None)
        self.inventory_version += kind in _INVENTORY_KINDS
        return True

    def replace(
        self, kind: str, items: Iterable[Object], version: str, namespace: str | None = None
    ) -> list[Object]:
        """Brings a kind to what a list at `version` shows; returns what that changed.

        What is newer than the list stays, so that a list that was served late undoes nothing; and
        so does what is outside of `namespace`, if the list is of one.
        """
        changed: list[Object] = []
        listed = set()
        for item in items:
            listed.add(_identity(item))
            if self.put(kind, item):
                changed.append(item)
        for identity, known in list(self._objects.get(kind, {}).items()):
            within = namespace in (None, identity[0])
            if within and identity not in listed and _version(known) <= _number(version):
                self.remove(kind, known)
                changed.append(known)
        return changed

    def _index(self, kind: str, identity: _Id, item: Object | None) -> None:
        if kind == RESOURCE.name:
            self._index_calibration(identity, item)
        if kind != POD.name and kind not in _CHILD_KINDS:
            return
        index = self._instances.setdefault(kind, {})
        namespace, name = identity
        # A label may have changed by hand, so forget where the object was before.
        before = self._belongs.pop((kind, identity), None)
        if before is not None:
            index[before].pop(name, None)
            if not index[before]:
                del index[before]
        instance = instance_of(item) if item is not None else None
        if item is not None and instance is not None:
            key = (namespace, instance)
            self._belongs[kind, identity] = key
            index.setdefault(key, {})[name] = item

    def _index_calibration(self, identity: _Id, item: Object | None) -> None:
        before = self._calibrates.pop(identity, None)
        if before is not None:
            del self._calibrated[before][identity]
            if not self._calibrated[before]:
                del self._calibrated[before]
        found = ((item or {}).get("status") or {}).get("calibration") or {}
        if "model" in found:
            model = self._calibrates[identity] = str(found["model"])
            self._calibrated.setdefault(model, {})[identity] = found


def instance_of(item: Object) -> str | None:
    """Name of the resource that a child or pod says it belongs to."""
    labels = item["metadata"].get("labels") or {}
    instance = labels.get(INSTANCE_LABEL)
    return None if instance is None else str(instance)


def _identity(item: Object) -> _Id:
    metadata = item["metadata"]
    return (str(metadata.get("namespace", "")), str(metadata["name"]))


def _version(item: Object) -> int:
    return _number(str(item["metadata"].get("resourceVersion", "")))


def _number(version: str) -> int:
    # Comparable by the API's promise since Kubernetes 1.35, and in fact with etcd before.
    return int(version) if version.isdigit() else 0

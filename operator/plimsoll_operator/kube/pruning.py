"""Objects without what nobody here reads, so that watching many of them takes little memory."""

import sys
from collections.abc import Mapping
from itertools import zip_longest
from operator import is_
from types import MappingProxyType
from typing import Any

from plimsoll_operator.api.template_rules import ENGINE
from plimsoll_operator.kube.kinds import NODE, POD, REVISION
from plimsoll_operator.planning.inventory import PRICE_ANNOTATION
from plimsoll_operator.render.labels import HTTPS, INSTANCE_LABEL, PLAN_LABEL

Object = Mapping[str, Any]
NOTHING: Object = MappingProxyType({})
SHARED_LENGTH = 64
APPLIED_LAST = "kubectl.kubernetes.io/last-applied-configuration"
"""An annotation with the whole object once more, which is for kubectl alone."""
_NODE_METADATA = ("name", "uid", "resourceVersion", "labels")
_POD_METADATA = (
    "namespace",
    "name",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
)
_STATUS_UNREAD = frozenset({"PodDisruptionBudget", "Service", "NetworkPolicy"})
"""Kinds whose status others write, whenever a pod comes or goes, for others to read."""
_POD_CONDITIONS = frozenset({"Ready", "PodScheduled"})
_ENDED = ("reason", "exitCode", "message")
SPEAKS_TLS = "speaksTls"
"""Of a pod as it is kept: true where its engine's API is HTTPS, else absent."""
MANY_RESTARTS = 5
"""So many take some five minutes by the kubelet's delays."""


def prune(kind: str, item: Object, like: Object = NOTHING) -> dict[str, Any]:
    """The part of an object that the store keeps; pruning that again changes nothing.

    Its short texts are shared with those of all others: names of fields alone, each a string of its
    own in every object that was parsed, would take more memory than what they name. And each part
    that is equal to the same part of `like` is that very part: most of what is rendered for one
    resource, or told of one node, is the same for the next.
    """
    kept = _kept(kind, item)
    return {sys.intern(key): _shared(value, like.get(key)) for key, value in kept.items()}


def _kept(kind: str, item: Object) -> dict[str, Any]:
    if kind == NODE.name:
        return _node(item)
    if kind == POD.name:
        return _pod(item)
    metadata = _metadata(item)
    if kind == REVISION.name:  # its data is for people, and large
        return {"metadata": metadata, "revision": item.get("revision", 0)}
    unread = ("metadata", "status") if kind in _STATUS_UNREAD else ("metadata",)
    return {**_without(item, *unread), "metadata": metadata}


def _shared(value: Any, like: Any = None) -> Any:
    """`value`, in pieces of `like` as far as these are equal; no piece is ever changed later."""
    if isinstance(value, str):
        if len(value) <= SHARED_LENGTH:
            return sys.intern(value)
        return like if value == like else value
    if isinstance(value, dict):
        theirs = like if isinstance(like, dict) else {}
        ours = {sys.intern(key): _shared(each, theirs.get(key)) for key, each in value.items()}
        alike = len(ours) == len(theirs) and all(
            each is theirs.get(key, ours) for key, each in ours.items()
        )
        return theirs if alike else ours
    if isinstance(value, list):
        beside = like if isinstance(like, list) and len(like) == len(value) else []
        found = [_shared(*pair) for pair in zip_longest(value, beside)]
        return beside if len(beside) == len(found) and all(map(is_, found, beside)) else found
    # Numbers, where True == 1 == 1.0.
    return like if type(value) is type(like) and value == like else value


def _metadata(item: Object) -> dict[str, Any]:
    metadata = _without(item["metadata"], "managedFields")
    if APPLIED_LAST in (metadata.get("annotations") or {}):
        metadata["annotations"] = _without(metadata["annotations"], APPLIED_LAST)
    return metadata


def without_version(item: Object) -> dict[str, Any]:
    """A pruned object by which it can be told whether anything changed that is read here."""
    return {**item, "metadata": _without(item["metadata"], "resourceVersion")}


def _node(item: Object) -> dict[str, Any]:
    spec, status = item.get("spec") or {}, item.get("status") or {}
    conditions = [
        _only(condition, "type", "status")
        for condition in status.get("conditions") or ()
        if condition.get("type") == "Ready"
    ]
    metadata = _only(item["metadata"], *_NODE_METADATA)
    annotations = _only(item["metadata"].get("annotations") or {}, PRICE_ANNOTATION)
    if annotations:  # the others are many, long, and change all the time
        metadata["annotations"] = annotations
    return {
        "metadata": metadata,
        "spec": _only(spec, "unschedulable", "taints"),
        "status": {"allocatable": status.get("allocatable"), "conditions": conditions},
    }


def _pod(item: Object) -> dict[str, Any]:
    metadata, status = _only(item["metadata"], *_POD_METADATA), item.get("status") or {}
    metadata["labels"] = _only(item["metadata"].get("labels") or {}, INSTANCE_LABEL, PLAN_LABEL)
    pruned = _only(status, "phase", "podIP")
    pruned["conditions"] = [
        _only(condition, "type", "status", "reason", "message")
        for condition in status.get("conditions") or ()
        if condition.get("type") in _POD_CONDITIONS
    ]
    for key in ("initContainerStatuses", "containerStatuses"):
        if status.get(key):
            pruned[key] = [_container(container) for container in status[key]]
    kept = {"metadata": metadata, "status": pruned}
    return {**kept, SPEAKS_TLS: True} if item.get(SPEAKS_TLS) or _speaks_tls(item) else kept


def _speaks_tls(pod: Object) -> bool:
    return any(
        container.get("name") == ENGINE
        and any(port.get("name") == HTTPS for port in container.get("ports") or ())
        for container in (pod.get("spec") or {}).get("containers") or ()
    )


def _container(container: Object) -> dict[str, Any]:
    """Without times and counts, which change at every restart: only whether there were many."""
    pruned = _only(container, "name", "ready", "started", "image")
    many = int(container.get("restartCount", 0)) >= MANY_RESTARTS
    pruned["restartCount"] = MANY_RESTARTS if many else 0
    state, last = container.get("state") or {}, container.get("lastState") or {}
    pruned["state"] = {
        "waiting": _only(state.get("waiting") or {}, "reason", "message"),
        "terminated": _only(state.get("terminated") or {}, *_ENDED),
    }
    pruned["lastState"] = {"terminated": _only(last.get("terminated") or {}, *_ENDED)}
    return pruned


def _only(item: Object, *names: str) -> dict[str, Any]:
    return {name: item[name] for name in names if name in item}


def _without(item: Object, *names: str) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in names}

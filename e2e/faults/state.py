"""What is compared, byte by byte: children and status without what the API server writes."""

import asyncio
import json
from typing import Any

from e2e.faults.api import Api
from plimsoll_operator.kube.kinds import CHILDREN

Object = dict[str, Any]
_SERVERS = (
    "uid",
    "resourceVersion",
    "generation",
    "managedFields",
    "creationTimestamp",
    "selfLink",
)
_ADDRESSES = ("clusterIP", "clusterIPs")
RESOURCE = "LLMDeployment"
_BEFORE, _SHOWN = 60, 400
"""Of a difference, how many characters are shown before it and in all."""


async def read(api: Api, namespace: str) -> dict[str, Object]:
    """All children and LLMDeployments of a namespace as they are, by `KIND NAME`."""
    kinds = (RESOURCE, *(kind.name for kind in CHILDREN))
    lists = await asyncio.gather(*(api.list(kind, namespace) for kind in kinds))
    return {
        f"{kind} {item['metadata']['name']}": {**item, "kind": kind}
        for kind, items in zip(kinds, lists, strict=True)
        for item in items
        if (kind, item["metadata"]["name"]) != ("ServiceAccount", "default")
    }


def rolled_out(objects: dict[str, Object]) -> bool:
    """Whether Deployments are as they are asked to be, and statuses say of today's specs that
    nothing more is on its way."""
    for name, item in objects.items():
        status, generation = item.get("status") or {}, item["metadata"].get("generation")
        if name.startswith("Deployment"):
            if status.get("observedGeneration") != generation:
                return False
            counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas")}
            if counts != {item["spec"]["replicas"]}:
                return False
        elif name.startswith(RESOURCE):
            conditions = status.get("conditions") or []
            on_its_way = [c for c in conditions if c["type"] == "Reconciling"]
            if not on_its_way or on_its_way[0]["status"] != "False" or not told(item):
                return False
    return True


def told(resource: Object) -> bool:
    """Whether all conditions are of today's spec."""
    conditions = (resource.get("status") or {}).get("conditions") or []
    generation = resource["metadata"]["generation"]
    return bool(conditions) and all(c["observedGeneration"] == generation for c in conditions)


def canonical(objects: dict[str, Object], namespace: str) -> dict[str, str]:
    """Objects as text that is equal where they are, whatever their namespace is called."""
    owners = {
        item["metadata"]["uid"] for name, item in objects.items() if name.startswith(RESOURCE)
    }
    return {
        name: json.dumps(_bare(item, owners), sort_keys=True).replace(namespace, "NAMESPACE")
        for name, item in sorted(objects.items())
    }


def _bare(item: Object, owners: set[str]) -> Object:
    metadata = {key: value for key, value in item["metadata"].items() if key not in _SERVERS}
    if "ownerReferences" in metadata:
        metadata["ownerReferences"] = [
            {**owner, "uid": "present" if owner["uid"] in owners else "absent"}
            for owner in metadata["ownerReferences"]
        ]
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop("deployment.kubernetes.io/revision", None)
    metadata["annotations"] = annotations
    bare = {**item, "metadata": metadata}
    status = bare.pop("status", {})
    if item["kind"] == RESOURCE:
        bare["status"] = _timeless(status)
    if bare.get("spec", {}).get("clusterIP", "None") != "None":
        spec = bare["spec"]
        bare["spec"] = {key: value for key, value in spec.items() if key not in _ADDRESSES}
    return bare


def _timeless(status: Object) -> Object:
    conditions = [
        {key: value for key, value in condition.items() if key != "lastTransitionTime"}
        for condition in status.get("conditions", ())
    ]
    return {**status, "conditions": conditions}


def differences(wanted: dict[str, str], found: dict[str, str]) -> str:
    """Where two states first differ in each object, for a person to read."""
    lines = []
    for name in sorted({*wanted, *found}):
        one, other = wanted.get(name), found.get(name)
        if one is None or other is None:
            lines.append(f"{name}: {'missing' if other is None else 'not wanted'}")
        elif one != other:
            pairs = enumerate(zip(one, other, strict=False))
            at = next((number for number, (a, b) in pairs if a != b), min(len(one), len(other)))
            start = max(0, at - _BEFORE)
            lines += [
                f"{name}:",
                f"  wanted …{one[start:][:_SHOWN]}",
                f"  found  …{other[start:][:_SHOWN]}",
            ]
    return "\n".join(lines)

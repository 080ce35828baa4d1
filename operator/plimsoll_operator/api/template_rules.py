"""What `spec.template` may not say: what the plan decides, and what the operator relies on.

Whoever may set a template may create pods (an admission policy asks for that right), so that this
is no matter of security: it keeps promises from being broken by mistake.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from plimsoll_operator.api.template import PodTemplate

ENGINE = "engine"
DOWNLOADS = frozenset({"download", "download-draft"})
OWN_LABELS = ("plimsoll.dev/", "app.kubernetes.io/")
OWN_VOLUMES = frozenset({"tmp", "cache", "shm", "model", "draft-model", "api-keys", "admin", "tls"})
NOT_OF_PODS = {
    "serviceAccountName": "engines run as an account of their own, which may do nothing",
    "serviceAccount": "engines run as an account of their own, which may do nothing",
    "automountServiceAccountToken": "engines need no token",
    "restartPolicy": "a Deployment always restarts its pods",
    "nodeName": "pods are scheduled: use nodeSelector or affinity",
    "terminationGracePeriodSeconds": "it follows from how long the engine drains",
    "hostNetwork": "policies guard the pods' own addresses",
    "hostPID": "Pod Security `restricted` forbids it",
    "hostIPC": "Pod Security `restricted` forbids it",
    "activeDeadlineSeconds": "engines run until they are not needed",
}
NOT_OF_ENGINES = {
    "command": "the operator starts the engine",
    "args": "they follow from spec and plan: use spec.pin for what should stay",
    "ports": "services and policies count on them",
    "livenessProbe": "the operator counts on the engine's own",
    "readinessProbe": "the operator counts on the engine's own",
    "startupProbe": "the operator counts on the engine's own",
    "lifecycle": "it drains the engine",
}
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
}
"""What lists are merged by: the API's `patchMergeKey` of those that engine pods have."""

Finding = tuple[str, str]
"""Path below the template, and what is wrong there."""


def template_problems(template: PodTemplate | None) -> Iterator[Finding]:
    """Everything that may not stay."""
    if template is None:
        return
    for label in template.metadata.labels:
        if label.startswith(OWN_LABELS):
            yield f"metadata.labels[{label}]", "is the operator's own: choose another name"
    pod = template.spec
    yield from _forbidden("spec", pod, NOT_OF_PODS)
    yield from _selectors(pod.get("nodeSelector", {}))
    if not _are_objects(pod.get("tolerations", [])):
        yield "spec.tolerations", "must be a list of objects"
    for volume in pod.get("volumes") or ():
        if isinstance(volume, Mapping) and volume.get("name") in OWN_VOLUMES:
            yield f"spec.volumes[{volume['name']}]", "is the operator's own: choose another name"
    yield from _unnamed("spec", pod, ("containers", "initContainers", "volumes"))
    for field in ("containers", "initContainers"):
        if _are_objects(pod.get(field, [])):
            yield from _containers(field, pod.get(field, []))


def _containers(field: str, containers: list[Mapping[str, Any]]) -> Iterator[Finding]:
    for container in containers:
        where = f"spec.{field}[{container.get('name')}]"
        yield from _unnamed(where, container, ("env", "volumeMounts"))
        if container.get("name") in DOWNLOADS:
            yield where, "is the operator's own: what its environment needs, say of the engine's"
        if container.get("name") != ENGINE:
            continue
        if field != "containers":
            yield where, "is the name of the engine's own container: choose another name"
            continue
        yield from _forbidden(where, container, NOT_OF_ENGINES)
        yield from _planned(where, container.get("resources", {}))


def _forbidden(
    where: str, part: Mapping[str, Any], reasons: Mapping[str, str]
) -> Iterator[Finding]:
    for name, value in part.items():
        if name in reasons:
            yield f"{where}.{name}", f"cannot be set: {reasons[name]}"
        elif value is None:
            yield f"{where}.{name}", "null would remove what engines need: leave it out"


def _unnamed(where: str, part: Mapping[str, Any], fields: tuple[str, ...]) -> Iterator[Finding]:
    for field in fields:
        items, key = part.get(field, []), MERGE_KEYS[field]
        if not _are_objects(items):
            yield f"{where}.{field}", "must be a list of objects"
            continue
        for number, item in enumerate(items):
            if not isinstance(item.get(key), str) or not item[key]:
                yield f"{where}.{field}[{number}].{key}", "is required"


def _selectors(selector: Any) -> Iterator[Finding]:
    if not isinstance(selector, Mapping):
        yield "spec.nodeSelector", "must be an object"
        return
    for label in selector:
        if str(label).endswith((".product", "/accelerator", "product-name")):
            yield (
                f"spec.nodeSelector[{label}]",
                "cannot be set: the plan chooses the accelerator; use spec.accelerators.allow",
            )


def _planned(where: str, resources: Any) -> Iterator[Finding]:
    if not isinstance(resources, Mapping):
        yield f"{where}.resources", "must be an object"
        return
    for side in ("requests", "limits"):
        for name in resources.get(side) or ():
            if name in ("cpu", "memory") or "gpu" in name or "/mig-" in name:
                yield f"{where}.resources.{side}[{name}]", "cannot be set: the plan decides it"


def _are_objects(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(item, Mapping) for item in found)

"""Names, labels and annotations of children, and what all of them have in common."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from plimsoll_operator.resource import Resource

APP = "plimsoll-engine"
NAME_LABEL = "app.kubernetes.io/name"
INSTANCE_LABEL = "app.kubernetes.io/instance"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
PLAN_LABEL = "plimsoll.dev/plan"
INPUTS_LABEL = "plimsoll.dev/inputs"
RENDERED_ANNOTATION = "plimsoll.dev/rendered"
PODS_ANNOTATION = "plimsoll.dev/pods"
MANAGER = "plimsoll"
_UNHASHED = frozenset({"replicas", "progressDeadlineSeconds", "strategy"})
PORT = 8000
ADMIN_PORT = 9090
HTTP, HTTPS = "http", "https"
"""Names of the API port by what it speaks: a Service's targetPort finds those pods alone."""


def selector(name: str) -> dict[str, str]:
    """Labels that select the pods of the resource `name`; they never change."""
    return {NAME_LABEL: APP, INSTANCE_LABEL: name}


def selector_text(name: str) -> str:
    """The same in the form that `status.selector` and the API server's queries take."""
    return ",".join(f"{key}={value}" for key, value in selector(name).items())


def child_labels(name: str) -> dict[str, str]:
    """Labels of every child of the resource `name`."""
    return {**selector(name), MANAGED_BY_LABEL: MANAGER}


def pod_labels(name: str, revision: str) -> dict[str, str]:
    """Labels of engine pods; the endpoint picker knows the engine's dialect by the last one."""
    return {**child_labels(name), PLAN_LABEL: revision, "llm-d.ai/engine-type": "vllm"}


def metrics_service_name(name: str) -> str:
    """Name of the headless Service."""
    return f"{name}-metrics"


def child(
    resource: Resource, api_version: str, kind: str, name: str, body: Mapping[str, Any]
) -> dict[str, Any]:
    """A child object with owner, labels and the hash of its rendering.

    The hash leaves out what changes without a change of what runs: it is compared by itself.
    """
    labels = child_labels(resource.name)
    spec = {key: value for key, value in body.get("spec", {}).items() if key not in _UNHASHED}
    rendered = digest([api_version, kind, name, labels, {**body, "spec": spec}])
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": resource.namespace,
            "labels": labels,
            "annotations": {RENDERED_ANNOTATION: rendered},
            "ownerReferences": [resource.reference()],
        },
        **body,
    }


def digest(value: object) -> str:
    """Hash of plain data; the same for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]

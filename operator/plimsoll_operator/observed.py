"""What the cluster holds for one resource, and what can be read from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plimsoll_operator.render.children import ChildKey

_WAITING_IS_NORMAL = frozenset({"ContainerCreating", "PodInitializing"})
_MAX_PODS_NAMED = 3


@dataclass(frozen=True)
class Observed:
    """Objects as the API server has them. `children` also holds foreign objects of our names."""

    children: Mapping[ChildKey, Mapping[str, Any]] = field(default_factory=dict)
    pods: tuple[Mapping[str, Any], ...] = ()


def owned_by(child: Mapping[str, Any], uid: str) -> bool:
    """Whether the object's controller is the resource with that uid."""
    references = child.get("metadata", {}).get("ownerReferences") or ()
    return any(ref.get("controller") and ref.get("uid") == uid for ref in references)


@dataclass(frozen=True)
class Rollout:
    """How far a Deployment is. `current` is whether its controller has seen its newest spec."""

    exists: bool = False
    current: bool = False
    desired: int = 0
    replicas: int = 0
    updated: int = 0
    ready: int = 0
    ready_updated: int = 0
    failure: str = ""
    deadline_exceeded: bool = False


def rollout(deployment: Mapping[str, Any] | None) -> Rollout:
    """The progress in a Deployment's status; all zero where there is none."""
    if deployment is None:
        return Rollout()
    status = deployment.get("status") or {}
    conditions = {item.get("type"): item for item in status.get("conditions") or ()}
    progressing = conditions.get("Progressing", {})
    failed = conditions.get("ReplicaFailure", {})
    replicas = int(status.get("replicas", 0))
    updated = int(status.get("updatedReplicas", 0))
    ready = int(status.get("readyReplicas", 0))
    return Rollout(
        exists=True,
        current=int(status.get("observedGeneration", 0))
        >= int(deployment["metadata"].get("generation", 0)),
        desired=int(deployment.get("spec", {}).get("replicas", 1)),
        replicas=replicas,
        updated=updated,
        ready=ready,
        ready_updated=max(0, ready - (replicas - updated)),
        failure=str(failed.get("message", "")) if failed.get("status") == "True" else "",
        deadline_exceeded=progressing.get("reason") == "ProgressDeadlineExceeded",
    )


def pod_troubles(pods: tuple[Mapping[str, Any], ...]) -> str:
    """Why pods do not serve, for people; nothing that changes while the cause stays the same."""
    causes: dict[str, list[str]] = {}
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"])):
        if pod["metadata"].get("deletionTimestamp") is None:
            for cause in _causes(pod.get("status") or {}):
                causes.setdefault(cause, []).append(str(pod["metadata"]["name"]))
    return "; ".join(f"{_names(names)}: {cause}" for cause, names in sorted(causes.items()))


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:_MAX_PODS_NAMED])
    more = len(names) - _MAX_PODS_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _causes(status: Mapping[str, Any]) -> list[str]:
    causes = [
        f"cannot be scheduled: {condition.get('message', '')}".rstrip(": ")
        for condition in status.get("conditions") or ()
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False"
    ]
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason")
        if reason and reason not in _WAITING_IS_NORMAL:
            ended = (container.get("lastState") or {}).get("terminated") or {}
            cause = ended.get("reason", "")
            code = f" after exit code {ended['exitCode']} ({cause})" if "exitCode" in ended else ""
            causes.append(f"{reason}{code}")
    return causes

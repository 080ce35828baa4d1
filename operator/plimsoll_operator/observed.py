"""What the cluster holds for one resource, and what can be read from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plimsoll_operator.render.children import ChildKey
from plimsoll_operator.render.labels import PLAN_LABEL, RENDERED_ANNOTATION, child_labels


@dataclass(frozen=True)
class Observed:
    """Objects as the API server has them. `children` also holds foreign objects of our names.
    `shortage` is what a node is short of where replicas find no room."""

    children: Mapping[ChildKey, Mapping[str, Any]] = field(default_factory=dict)
    pods: tuple[Mapping[str, Any], ...] = ()
    shortage: str = ""

    def pods_of(self, revision: str) -> frozenset[str]:
        """Names of the pods that run by the plan with that revision."""
        return frozenset(
            str(pod["metadata"]["name"])
            for pod in self.pods
            if (pod["metadata"].get("labels") or {}).get(PLAN_LABEL) == revision
        )


def owned_by(child: Mapping[str, Any], uid: str) -> bool:
    """Whether the object's controller is the resource with that uid."""
    references = child.get("metadata", {}).get("ownerReferences") or ()
    return any(ref.get("controller") and ref.get("uid") == uid for ref in references)


def orphaned(child: Mapping[str, Any], name: str) -> bool:
    """Whether it is a child of an LLMDeployment `name` that was deleted without its children, as by
    `kubectl delete --cascade=orphan`: rendered by an operator for that name, and nobody's now."""
    metadata = child.get("metadata", {})
    labels = metadata.get("labels") or {}
    return (
        not metadata.get("ownerReferences")
        and RENDERED_ANNOTATION in (metadata.get("annotations") or {})
        and all(labels.get(key) == value for key, value in child_labels(name).items())
    )


def belongs(child: Mapping[str, Any], name: str, uid: str) -> bool:
    """Whether it is a child of the resource `name` with that uid, or is to become one again."""
    return owned_by(child, uid) or orphaned(child, name)


def terminating(item: Mapping[str, Any]) -> bool:
    """Whether a pod, or any other object, is on its way out."""
    return "deletionTimestamp" in item["metadata"]


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Whether none of its containers will run again."""
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")


def is_replica(pod: Mapping[str, Any]) -> bool:
    """Whether it counts as one: it has not ended, and is not on its way out."""
    return not (terminating(pod) or has_ended(pod))


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether it serves, as its probes say."""
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in (pod.get("status") or {}).get("conditions") or ()
    )


def is_current(item: Mapping[str, Any]) -> bool:
    """Whether its controller has seen its newest spec."""
    seen = (item.get("status") or {}).get("observedGeneration") or 0
    return int(seen) >= int(item["metadata"].get("generation") or 0)


def has_rolled_out(deployment: Mapping[str, Any]) -> bool:
    """Whether all pods by its present template have served once; that stays so as pods come and go.

    False until its controller has seen the template.
    """
    return is_current(deployment) and any(
        item.get("type") == "Progressing" and item.get("reason") == "NewReplicaSetAvailable"
        for item in (deployment.get("status") or {}).get("conditions") or ()
    )


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


def rollout_of(observed: Observed, name: str, uid: str) -> Rollout:
    """The progress of the Deployment of the resource `name` with that uid."""
    deployment = observed.children.get(("Deployment", name))
    ours = deployment is not None and owned_by(deployment, uid)
    return rollout(deployment if ours else None)


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
    failure = str(failed.get("message", "")) if failed.get("status") == "True" else ""
    # Of a template that was there before, the Deployment's controller keeps the last verdict until
    # it has made a pod.
    begun = updated > 0 or bool(failure)
    return Rollout(
        exists=True,
        current=is_current(deployment),
        desired=int(deployment.get("spec", {}).get("replicas", 1)),
        replicas=replicas,
        updated=updated,
        ready=ready,
        ready_updated=max(0, ready - (replicas - updated)),
        failure=failure,
        deadline_exceeded=begun and progressing.get("reason") == "ProgressDeadlineExceeded",
    )

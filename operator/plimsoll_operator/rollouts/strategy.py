"""Whether a rollout goes on beside what serves, or in its place: pure, from children and pods."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.observed import Observed, is_replica, owned_by, rollout
from plimsoll_operator.resource import Resource
from plimsoll_operator.status.pod_trouble import ending, has_node, no_room


@dataclass(frozen=True)
class InPlace:
    """A rollout in which `unavailable` replicas may end before new ones serve, and until whose end
    there are at `most` so many."""

    unavailable: int
    most: int


def rolls_in_place(
    resource: Resource, spec: LLMDeploymentSpec, started: str, observed: Observed, now: str
) -> InPlace | None:
    """None unless a rollout that is under way finds no room for pods of the plan `started` beside
    those that serve, and some may end.

    Once begun in place it goes on so to its end, since the room that it makes is its own. While a
    pod is ending, room is about to come; but not for longer than it was given at `now` (RFC 3339),
    as one on a node that is lost never ends.

    Replicas that have no node must not be asked for meanwhile: the Deployment's controller counts
    them as unavailable, and would end none of those that hold the room.
    """
    allowed = spec.rollout.max_unavailable
    there = observed.children.get(("Deployment", resource.name))
    if not allowed or there is None or not owned_by(there, resource.uid):
        return None
    progress = rollout(there)
    if progress.updated >= progress.replicas:
        return None
    if goes_in_place(there):
        return InPlace(allowed, progress.desired)
    if not no_room(observed.pods, started) or ending(observed.pods, now):
        return None
    placed = sum(has_node(pod) and is_replica(pod) for pod in observed.pods)
    return InPlace(allowed, max(1, placed))


def goes_in_place(deployment: Mapping[str, Any]) -> bool:
    """Whether its rollout was begun in place; so until the first look after its end."""
    rolling = deployment["spec"].get("strategy", {}).get("rollingUpdate", {})
    return bool(rolling.get("maxSurge") == 0)

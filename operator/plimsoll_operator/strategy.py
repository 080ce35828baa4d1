"""Whether a rollout goes on beside what serves, or in its place: pure, from children and pods."""

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.observed import Observed, owned_by, rollout
from plimsoll_operator.pod_trouble import ending, no_room
from plimsoll_operator.resource import Resource


def unavailable(
    resource: Resource, spec: LLMDeploymentSpec, started: str, observed: Observed, now: str
) -> int:
    """How many replicas may end before new ones serve: 0, unless a rollout that is under way finds
    no room for pods of the plan `started` beside those that serve.

    Once begun in place it goes on so to its end, since the room that it makes is its own. While a
    pod is ending, room is about to come; but not for longer than it was given at `now` (RFC 3339),
    as one on a node that is lost never ends.
    """
    allowed = spec.rollout.max_unavailable
    there = observed.children.get(("Deployment", resource.name))
    if not allowed or there is None or not owned_by(there, resource.uid):
        return 0
    progress = rollout(there)
    if progress.updated >= progress.replicas:
        return 0
    begun = there["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxSurge") == 0
    if begun:
        return allowed
    return allowed if no_room(observed.pods, started) and not ending(observed.pods, now) else 0

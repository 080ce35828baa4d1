"""What pods are made from, and by what they go on: pure, from what was applied last.

An upgraded operator has another engine image, and may render pods otherwise; neither is a reason to
restart one. What stands goes on by the image and the version of the rendering that it has, until an
edit changes what its pods are made from.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.api.template_rules import DOWNLOADS, ENGINE
from plimsoll_operator.observed import Observed, belongs
from plimsoll_operator.plans.choice import Standing
from plimsoll_operator.render.deployment import pod_template
from plimsoll_operator.render.labels import PODS_ANNOTATION, digest
from plimsoll_operator.render.rendering import NEWEST, Rendering
from plimsoll_operator.resource import Resource
from plimsoll_operator.rollouts.live_limits import still_sufficient


@dataclass(frozen=True)
class PodSource:
    """A plan, and by what pods are made of it."""

    plan: PlanStatus
    rendering: Rendering


def choose_source(
    resource: Resource, standing: Standing, newest: Rendering, observed: Observed
) -> PodSource | None:
    """What to make pods from; None where nothing is to be applied.

    The plan is the one in force, or what pods were started by while that will do: where the plan
    with theirs gives the very pods that were applied last; or where that plan is held. The
    rendering is `newest`, or that of the pods that were applied last while they are made from
    nothing else.
    """
    spec, plan, hold = resource.spec, standing.plan, standing.hold
    if spec is None or plan is None or standing.trouble is not None:
        return None
    held, rendering = (None, None) if hold is None else (hold.started, hold.rendering)
    there = observed.children.get(("Deployment", resource.name))
    if there is not None and belongs(there, resource.name, resource.uid):
        plans = (held,) if held else (still_sufficient(resource, plan, there), plan)
        found = source_of(there, resource, spec, filter(None, plans))
        if found is not None:
            return found
    return PodSource(held or plan, rendering or newest)


def source_of(
    deployment: Mapping[str, Any],
    resource: Resource,
    spec: LLMDeploymentSpec,
    plans: Iterable[PlanStatus],
) -> PodSource | None:
    """The first of `plans` by which the Deployment was applied last, and how it was rendered.

    None where it was by none of them, or where somebody has changed its engine's image since.
    """
    pods = (deployment["metadata"].get("annotations") or {}).get(PODS_ANNOTATION)
    renderings = tuple(_renderings(deployment))
    for plan in plans:
        for rendering in renderings:
            if digest(pod_template(resource, spec, plan, rendering)) == pods:
                return PodSource(plan, rendering)
    return None


def _renderings(deployment: Mapping[str, Any]) -> Iterator[Rendering]:
    """Those that a Deployment with these images may be by: a template may say that of the engine,
    but not that of what downloads its model."""
    try:
        pod = deployment["spec"]["template"]["spec"]
        containers = (*pod["containers"], *(pod.get("initContainers") or ()))
        ours = [item for item in containers if item["name"] in {ENGINE, *DOWNLOADS}]
        images = [(str(item["image"]), str(item["imagePullPolicy"])) for item in ours]
    except (AttributeError, KeyError, TypeError):
        return
    for image, policy in dict.fromkeys(images):
        for version in range(NEWEST, 0, -1):
            yield Rendering(image, policy, version)

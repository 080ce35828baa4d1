"""All children of one resource."""

from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.render.deployment import deployment
from plimsoll_operator.render.disruption import disruption_budget
from plimsoll_operator.render.labels import metrics_service_name
from plimsoll_operator.render.networkpolicy import network_policy
from plimsoll_operator.render.rendering import Rendering
from plimsoll_operator.render.serviceaccount import service_account
from plimsoll_operator.render.services import metrics_service, service
from plimsoll_operator.resource import Resource

ChildKey = tuple[str, str]
"""Kind and name; the namespace is that of the resource."""


def children(
    resource: Resource,
    spec: LLMDeploymentSpec,
    plan: PlanStatus,
    rendering: Rendering,
    replicas: int,
) -> tuple[dict[str, Any], ...]:
    """What should exist, in the order in which it is applied; equal inputs give equal bytes."""
    return (
        service_account(resource),
        network_policy(resource, spec),
        service(resource, spec),
        metrics_service(resource, spec),
        disruption_budget(resource),
        deployment(resource, spec, plan, rendering, replicas),
    )


def child_keys(name: str) -> tuple[ChildKey, ...]:
    """Kinds and names of all that `children` makes for the resource `name`."""
    return (
        ("ServiceAccount", name),
        ("NetworkPolicy", name),
        ("Service", name),
        ("Service", metrics_service_name(name)),
        ("PodDisruptionBudget", name),
        ("Deployment", name),
    )


def key_of(child: dict[str, Any]) -> ChildKey:
    """Kind and name of a child."""
    return (str(child["kind"]), str(child["metadata"]["name"]))

"""The PodDisruptionBudget of engine pods."""

from typing import Any

from plimsoll_operator.render.labels import child, selector
from plimsoll_operator.resource import Resource


def disruption_budget(resource: Resource) -> dict[str, Any]:
    """One pod at a time may be evicted; pods that do not serve may always go."""
    body = {
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(resource.name)},
        }
    }
    return child(resource, "policy/v1", "PodDisruptionBudget", resource.name, body)

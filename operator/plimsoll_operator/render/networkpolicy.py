"""The NetworkPolicy of engine pods."""

from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.render.labels import ADMIN_PORT, PORT, child, selector
from plimsoll_operator.render.model_mount import model_mount
from plimsoll_operator.resource import Resource

_OPERATOR = {
    # The label of the operator's namespace in our manifests; a pod's alone anybody could set.
    "namespaceSelector": {"matchLabels": {"app.kubernetes.io/part-of": "plimsoll"}},
    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "plimsoll-operator"}},
}


def network_policy(resource: Resource, spec: LLMDeploymentSpec) -> dict[str, Any]:
    """In: the API port, and the admin port for the operator. Out: names, and HTTPS where a model is
    downloaded; nothing else."""
    egress: list[dict[str, Any]] = [
        {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}
    ]
    if model_mount(spec).downloads:
        egress.append({"ports": [{"protocol": "TCP", "port": 443}]})
    body = {
        "spec": {
            "podSelector": {"matchLabels": selector(resource.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"ports": [{"protocol": "TCP", "port": PORT}]},
                {"from": [_OPERATOR], "ports": [{"protocol": "TCP", "port": ADMIN_PORT}]},
            ],
            "egress": egress,
        }
    }
    return child(resource, "networking.k8s.io/v1", "NetworkPolicy", resource.name, body)

"""The NetworkPolicy of engine pods: all that is not named here is denied to them."""

from typing import Any

from plimsoll_operator.api.access import Access
from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.render.labels import ADMIN_PORT, NAME_LABEL, PORT, child, selector
from plimsoll_operator.render.model_mount import model_mount
from plimsoll_operator.resource import Resource

MONITORING_LABEL = "plimsoll.dev/monitoring"
"""On a namespace, as `true`: its pods may read metrics."""
OPERATOR: dict[str, Any] = {
    # The label of the namespace too, since anybody may label a pod of their own.
    "namespaceSelector": {"matchLabels": {"app.kubernetes.io/part-of": "plimsoll"}},
    "podSelector": {"matchLabels": {NAME_LABEL: "plimsoll-operator"}},
}
MONITORING: dict[str, Any] = {"namespaceSelector": {"matchLabels": {MONITORING_LABEL: "true"}}}
PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
PRIVATE_V6 = ("fc00::/7", "fe80::/10")
_PUBLIC: tuple[dict[str, Any], ...] = (
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(PRIVATE)}},
    {"ipBlock": {"cidr": "::/0", "except": list(PRIVATE_V6)}},
)


def network_policy(resource: Resource, spec: LLMDeploymentSpec) -> dict[str, Any]:
    """In: the API port, and the admin port for the operator. Out: names, and public HTTPS where a
    model is downloaded."""
    egress: list[dict[str, Any]] = [
        # To any resolver: a cache on the node is no pod, and what else serves names varies.
        {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}
    ]
    if model_mount(spec).downloads:
        egress.append({"to": list(_PUBLIC), "ports": [{"protocol": "TCP", "port": 443}]})
    body = {
        "spec": {
            "podSelector": {"matchLabels": selector(resource.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {**_peers(spec.access), "ports": [{"protocol": "TCP", "port": PORT}]},
                {"from": [OPERATOR], "ports": [{"protocol": "TCP", "port": ADMIN_PORT}]},
            ],
            "egress": egress,
        }
    }
    return child(resource, "networking.k8s.io/v1", "NetworkPolicy", resource.name, body)


def _peers(access: Access | None) -> dict[str, Any]:
    """`from` of the API port; without it, everybody."""
    if access is None:
        return {}
    named = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
        for name in access.namespaces
    ]
    blocks = [{"ipBlock": {"cidr": cidr}} for cidr in access.cidrs]
    return {"from": [OPERATOR, MONITORING, *named, *blocks]}

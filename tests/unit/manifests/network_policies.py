"""Who may open a connection to whom, by the published meaning of NetworkPolicies.

https://kubernetes.io/docs/concepts/services-networking/network-policies/ : a pod that some policy
of a direction selects is isolated in that direction, and then only what some policy lists is
allowed; a connection needs both ends to allow it. Whether an ipBlock holds for pods is left to the
network plug-in; here it does, as with most.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Policy = Mapping[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """A pod, or with `namespace` None whatever has an address and is no pod."""

    name: str
    address: str
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)


def allowed(
    policies: Iterable[Policy], source: Endpoint, target: Endpoint, protocol: str, port: int
) -> bool:
    """Whether `source` may open a connection to that port of `target`."""
    known = tuple(policies)
    return _direction(known, "Egress", source, target, protocol, port) and _direction(
        known, "Ingress", target, source, protocol, port
    )


def _direction(
    policies: Iterable[Policy],
    direction: str,
    own: Endpoint,
    other: Endpoint,
    protocol: str,
    port: int,
) -> bool:
    """Whether the policies of `own` let it talk with `other`."""
    effective = [
        policy
        for policy in policies
        if direction in _types(policy["spec"])
        and policy["metadata"]["namespace"] == own.namespace
        and selects(policy["spec"]["podSelector"], own.labels)
    ]
    if not effective:
        return True
    peers = "from" if direction == "Ingress" else "to"
    return any(
        _matches_peer(rule.get(peers) or (), other, policy["metadata"]["namespace"])
        and _matches_port(rule.get("ports") or (), protocol, port)
        for policy in effective
        for rule in policy["spec"].get(direction.lower()) or ()
    )


def _types(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """`policyTypes`, or what is meant where they are absent."""
    default = ("Ingress", "Egress") if spec.get("egress") else ("Ingress",)
    return tuple(spec.get("policyTypes") or default)


def _matches_peer(peers: Iterable[Mapping[str, Any]], other: Endpoint, namespace: str) -> bool:
    named = tuple(peers)
    return not named or any(_is_peer(peer, other, namespace) for peer in named)


def _is_peer(peer: Mapping[str, Any], other: Endpoint, namespace: str) -> bool:
    if "ipBlock" in peer:
        block, address = peer["ipBlock"], ip_address(other.address)
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(each) for each in block.get("except") or ()
        )
    if other.namespace is None:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], other.namespace_labels):
            return False
    elif other.namespace != namespace:
        return False
    return selects(peer.get("podSelector") or {}, other.labels)


def _matches_port(ports: Iterable[Mapping[str, Any]], protocol: str, port: int) -> bool:
    named = tuple(ports)
    return not named or any(
        protocol == entry.get("protocol", "TCP")
        and ("port" not in entry or entry["port"] <= port <= entry.get("endPort", entry["port"]))
        for entry in named
    )


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects what bears `labels`; an empty one selects all."""
    equal = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in equal.items()) and all(
        _holds(each, labels) for each in selector.get("matchExpressions") or ()
    )


def _holds(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    present = requirement["key"] in labels
    value = labels.get(requirement["key"])
    return {
        "In": present and value in requirement.get("values", ()),
        "NotIn": value not in requirement.get("values", ()),
        "Exists": present,
        "DoesNotExist": not present,
    }[requirement["operator"]]

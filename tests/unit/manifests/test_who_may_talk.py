"""Who may talk to whom, for every pair of parties and every port, as one table."""

from itertools import permutations
from typing import Any

import pytest

from plimsoll_operator.render.children import children
from plimsoll_operator.render.labels import ADMIN_PORT
from tests.unit.manifests.network_policies import Endpoint, allowed
from tests.unit.manifests.shipped import find, installed
from tests.unit.plimsoll_operator.samples import IMAGE, cpu_plan, resource

HUB = {"model": {"source": "hf://org/model", "revision": "0123abc"}}
SPECS: dict[str, dict[str, Any]] = {
    "open": HUB,
    "closed": {"access": {}},
    "named": {"access": {"namespaces": ["web"], "cidrs": ["203.0.113.0/24"]}},
}


def rendered(name: str) -> tuple[dict[str, Any], ...]:
    owner = resource(metadata={"name": name}, spec=SPECS[name])
    assert owner.spec is not None, owner.invalid
    return children(owner, owner.spec, cpu_plan(), IMAGE, 1)


def pod(name: str, address: str, namespace: str, labels: dict[str, str]) -> Endpoint:
    own: dict[str, str] = {}
    if namespace == "plimsoll-system":
        own = find("Namespace", namespace)["metadata"]["labels"]
    if namespace == "monitoring":
        own = {"plimsoll.dev/monitoring": "true"}
    own = {"kubernetes.io/metadata.name": namespace, **own}
    return Endpoint(name, address, namespace, labels, own)


def engine(name: str, address: str) -> Endpoint:
    (deployment,) = (each for each in rendered(name) if each["kind"] == "Deployment")
    return pod(name, address, "ml", deployment["spec"]["template"]["metadata"]["labels"])


def operator_labels() -> dict[str, str]:
    template = find("Deployment", "plimsoll-operator")["spec"]["template"]
    labels: dict[str, str] = template["metadata"]["labels"]
    return labels


OURS = (
    pod("operator", "10.0.0.1", "plimsoll-system", operator_labels()),
    # Something that came into the operator's namespace.
    pod("intruder", "10.0.0.2", "plimsoll-system", {"app": "shell"}),
    *(engine(name, f"10.0.1.{number}") for number, name in enumerate(SPECS)),
)
OTHERS = (
    pod("prometheus", "10.0.2.1", "monitoring", {}),
    pod("web", "10.0.2.2", "web", {}),
    pod("neighbour", "10.0.2.3", "ml", {}),
    # A pod of a tenant that calls itself the operator.
    pod("impostor", "10.0.2.4", "ml", operator_labels()),
    pod("dns", "10.0.2.5", "kube-system", {"k8s-app": "kube-dns"}),
    Endpoint("apiserver", "192.168.0.10"),
    Endpoint("metadata", "169.254.169.254"),
    Endpoint("hub", "198.51.100.7"),
    Endpoint("hub6", "2001:db8::7"),
    Endpoint("partner", "203.0.113.9"),
)
POLICIES = [
    item
    for item in (*installed(), *(child for name in SPECS for child in rendered(name)))
    if item["kind"] == "NetworkPolicy"
]
PORTS = (80, 443, 6443, 8000, 8080, ADMIN_PORT)

HTTPS = (443, 6443)
TABLE: dict[tuple[str, str], tuple[int, ...]] = {
    # The operator measures engines and sends them limits, speaks to the API server and reads
    # config.json from the hub.
    ("operator", "open"): (8000, ADMIN_PORT),
    ("operator", "closed"): (8000, ADMIN_PORT),
    ("operator", "named"): (8000, ADMIN_PORT),
    **{("operator", each.name): HTTPS for each in OTHERS},
    # Monitoring reads metrics, of the operator and of every engine.
    ("prometheus", "operator"): (8080,),
    ("prometheus", "open"): (8000,),
    ("prometheus", "closed"): (8000,),
    ("prometheus", "named"): (8000,),
    # Without `access` everybody may call.
    **{(each.name, "open"): (8000,) for each in OTHERS},
    # With it, only whom it names.
    ("web", "named"): (8000,),
    ("partner", "named"): (8000,),
    # Only what downloads speaks to the outside, by HTTPS, and to nothing inside.
    ("open", "hub"): (443,),
    ("open", "hub6"): (443,),
    ("open", "partner"): (443,),
}


def test_every_pair_and_port() -> None:
    found = {}
    for source, target in permutations((*OURS, *OTHERS), 2):
        if source not in OURS and target not in OURS:
            continue
        ports = tuple(port for port in PORTS if allowed(POLICIES, source, target, "TCP", port))
        if ports:
            found[source.name, target.name] = ports
    assert found == TABLE


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_names_can_be_looked_up_by_whoever_needs_them(protocol: str) -> None:
    (dns,) = (each for each in OTHERS if each.name == "dns")
    asking = {each.name for each in OURS if allowed(POLICIES, each, dns, protocol, 53)}
    assert asking == {"operator", *SPECS}


def test_ports_are_those_that_the_pods_have() -> None:
    for name in SPECS:
        (deployment,) = (each for each in rendered(name) if each["kind"] == "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert [port["containerPort"] for port in container["ports"]] == [8000, ADMIN_PORT]
    (container,) = find("Deployment", "plimsoll-operator")["spec"]["template"]["spec"]["containers"]
    assert [port["containerPort"] for port in container["ports"]] == [8080]


@pytest.mark.parametrize(
    "access",
    [
        {"namespaces": ["Web"]},
        {"namespaces": ["a.b"]},
        {"namespaces": ["x" * 64]},
        {"cidrs": ["10.0.0.0"]},
        {"cidrs": ["10.0.0.0/33"]},
        {"cidrs": ["fd00::/129"]},
        {"cidrs": ["example.org/8"]},
        {"pods": []},
    ],
)
def test_access_that_no_policy_can_say_is_refused(access: dict[str, Any]) -> None:
    assert resource(spec={"access": access}).spec is None

"""The evaluator of NetworkPolicies against cases of the published meaning."""

from typing import Any

import pytest

from tests.unit.manifests.network_policies import Endpoint, allowed, selects

WEB = Endpoint("web", "10.1.0.1", "a", {"app": "web"}, {"team": "x"})
DATABASE = Endpoint("database", "10.1.0.2", "a", {"app": "db"}, {"team": "x"})
ELSEWHERE = Endpoint("elsewhere", "10.1.0.3", "b", {"app": "web"}, {"team": "y"})
OUTSIDE = Endpoint("outside", "203.0.113.7")


def policy(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "a"}, "spec": {"podSelector": {}, **spec}}


def ingress(*peers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return policy(ingress=[{"from": list(peers), **more}])


@pytest.mark.parametrize(
    ("policies", "source", "holds"),
    [
        ([], WEB, True),
        ([policy()], WEB, False),
        ([policy(ingress=[{}])], OUTSIDE, True),
        ([policy(), policy(ingress=[{}])], OUTSIDE, True),
        ([policy(podSelector={"matchLabels": {"app": "web"}})], WEB, True),
        ([ingress({"podSelector": {"matchLabels": {"app": "web"}}})], WEB, True),
        ([ingress({"podSelector": {"matchLabels": {"app": "web"}}})], ELSEWHERE, False),
        ([ingress({"namespaceSelector": {}})], ELSEWHERE, True),
        ([ingress({"namespaceSelector": {}})], OUTSIDE, False),
        ([ingress({"namespaceSelector": {"matchLabels": {"team": "y"}}})], ELSEWHERE, True),
        ([ingress({"namespaceSelector": {"matchLabels": {"team": "y"}}})], WEB, False),
        ([ingress({"ipBlock": {"cidr": "203.0.113.0/24"}})], OUTSIDE, True),
        (
            [ingress({"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.4/30"]}})],
            OUTSIDE,
            False,
        ),
        ([ingress(ports=[{"port": 5432}])], WEB, True),
        ([ingress(ports=[{"port": 5432, "protocol": "UDP"}])], WEB, False),
        ([ingress(ports=[{"port": 80}])], WEB, False),
        ([ingress(ports=[{"port": 5000, "endPort": 6000}])], WEB, True),
        ([policy(policyTypes=["Egress"])], ELSEWHERE, True),
        ([policy(policyTypes=["Egress"])], WEB, False),
        ([policy(egress=[{"to": [{"podSelector": {}}]}], ingress=[{}])], WEB, True),
    ],
)
def test_published_cases(policies: list[dict[str, Any]], source: Endpoint, holds: bool) -> None:
    assert allowed(policies, source, DATABASE, "TCP", 5432) is holds


def test_both_ends_must_allow() -> None:
    closed_elsewhere = {**policy(policyTypes=["Egress"]), "metadata": {"namespace": "b"}}
    assert not allowed([policy(ingress=[{}]), closed_elsewhere], ELSEWHERE, DATABASE, "TCP", 1)


@pytest.mark.parametrize(
    ("operator", "values", "holds"),
    [
        ("In", ["web"], True),
        ("In", ["db"], False),
        ("NotIn", ["db"], True),
        ("NotIn", ["web"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
    ],
)
def test_expressions(operator: str, values: list[str], holds: bool) -> None:
    requirement = {"key": "app", "operator": operator, "values": values}
    assert selects({"matchExpressions": [requirement]}, {"app": "web"}) is holds

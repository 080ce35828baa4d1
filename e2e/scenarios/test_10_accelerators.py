"""What accelerators cost is said to the cluster, and plans follow it as far as they may."""

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.support.kubectl import Kubectl, Object, condition, eventually
from e2e.support.resources import tiny

NAMES = ("e2e-cpu", "e2e-cpu-again", "e2e-acme")


def accelerator(name: str, **spec: Any) -> Object:
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "Accelerator",
        "metadata": {"name": name},
        "spec": spec,
    }


@pytest.fixture
def clean(kubectl: Kubectl) -> Iterator[None]:
    """Accelerators are of the whole cluster: none of ours stays."""
    yield
    kubectl.run("delete", "accelerators", *NAMES, "--ignore-not-found")
    kubectl.run("delete", "llmdeployment", "priced", "--ignore-not-found")


def accepted(kubectl: Kubectl, name: str) -> Object:
    return eventually(
        f"a verdict on {name}", lambda: condition(kubectl.get("accelerator", name), "Accepted")
    )


def cost(kubectl: Kubectl) -> str | None:
    plan = ((kubectl.get("llmdeployment", "priced") or {}).get("status") or {}).get("plan") or {}
    return (plan.get("predicted") or {}).get("costPerMillionTokens")


@pytest.mark.usefixtures("clean")
def test_a_price_lets_a_promise_of_cost_be_planned(kubectl: Kubectl) -> None:
    promise = tiny("priced")
    promise["spec"]["slo"]["maxCostPerMillionTokens"] = "1000"
    kubectl.apply(promise)
    refused = eventually(
        "a verdict", lambda: condition(kubectl.get("llmdeployment", "priced"), "SLOFeasible")
    )
    assert refused["status"] == "False"
    assert "pricePerHour" in refused["message"]

    kubectl.apply(accelerator("e2e-cpu", products=["cpu"], pricePerHour="0.03"))
    first = eventually("a plan with a cost", lambda: cost(kubectl), timeout=30)
    assert accepted(kubectl, "e2e-cpu")["status"] == "True"

    # A plan that stands is not touched, whatever becomes of prices.
    kubectl.apply(accelerator("e2e-cpu", products=["cpu"], pricePerHour="900"))
    kubectl.apply(accelerator("e2e-cpu-again", products=["cpu"], pricePerHour="1"))
    twice = accepted(kubectl, "e2e-cpu-again")
    assert (twice["status"], twice["reason"]) == ("False", "Conflict")
    assert "e2e-cpu" in twice["message"]
    assert cost(kubectl) == first


@pytest.mark.usefixtures("clean")
def test_what_cannot_be_used_is_refused_or_says_why(kubectl: Kubectl) -> None:
    for spec, words in (
        ({"products": []}, "at least 1 items"),
        ({"products": ["cpu"], "pricePerHour": "4,2"}, "such as 4.20"),
        ({"products": ["cpu"], "bandwidth": "0"}, "greater than zero"),
        (
            {"products": ["H200-MIG-1g.18gb"], "link": {"kind": "PCIe", "bandwidth": "32G"}},
            "a MIG slice reaches no other",
        ),
    ):
        assert words in kubectl.refused(accelerator("e2e-acme", **spec))
    kubectl.apply(accelerator("e2e-acme", products=["Acme-X1"], pricePerHour="1"))
    told = accepted(kubectl, "e2e-acme")
    assert (told["status"], told["reason"]) == ("False", "Incomplete")
    assert "spec.memory" in told["message"]

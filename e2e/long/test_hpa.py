"""The HPA controller of a real kube-controller-manager scales an LLMDeployment, by /scale."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from e2e.support import external_metrics
from e2e.support.install import REPOSITORY
from e2e.support.kubectl import Kubectl, Object, condition, eventually, is_true
from e2e.support.resources import tiny
from e2e.support.traffic import Traffic, service_url

NAME = "chat"  # as in the example
EXAMPLE = REPOSITORY / "manifests" / "autoscalers" / "hpa.yaml"
CLIENTS = 8
"""Two replicas' worth, with six requests in flight on each."""


@pytest.fixture
def metrics(kubectl: Kubectl, operator_image: str) -> Iterator[None]:
    external_metrics.serve(kubectl, operator_image)
    yield
    external_metrics.remove(kubectl)


def example() -> Object:
    """The example that is shipped, quicker down."""
    hpa: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    hpa["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = 15
    return hpa


def counts(kubectl: Kubectl) -> tuple[int, int]:
    """What the HPA asked for, and how many serve."""
    resource = kubectl.get("llmdeployment", NAME) or {}
    ready = resource.get("status", {}).get("readyReplicas", 0)
    return resource.get("spec", {}).get("replicas", 0), ready


@pytest.mark.timeout(600)
def test_an_hpa_scales_both_ways(kubectl: Kubectl, proxy: str, metrics: None) -> None:
    scaling = {"mode": "External", "minReplicas": 1, "maxReplicas": 3}
    kubectl.apply(tiny(NAME, scaling=scaling, pin={"maxNumSeqs": 8}))
    eventually("it serves", lambda: is_true(kubectl.get("llmdeployment", NAME), "Ready"))
    assert counts(kubectl) == (1, 1)
    kubectl.apply(example())
    traffic = Traffic(
        service_url(proxy, kubectl.namespace, NAME),
        NAME,
        CLIENTS,
        output_tokens=400,
        limit=50000,
        pause=0,
    )
    with traffic:
        eventually("the HPA has two serve", lambda: counts(kubectl) == (2, 2), timeout=180)
        hpa = kubectl.get("hpa", NAME)
        active = condition(hpa, "ScalingActive")
        assert active is not None
        assert (active["status"], active["reason"]) == ("True", "ValidMetricFound"), active
        resource = kubectl.get("llmdeployment", NAME)
        ours = condition(resource, "AutoscalingActive")
        assert ours is not None
        assert ours["reason"] == "External"
    eventually("the HPA has one left", lambda: counts(kubectl) == (1, 1), timeout=180)
    assert traffic.failures == []
    print(kubectl.run("get", "hpa", NAME).stdout, len(traffic.answers), "answers")
    events = kubectl.run("events", "--for", f"hpa/{NAME}").stdout
    print(events)
    assert events.count("SuccessfulRescale") >= 2
    kubectl.run("delete", "hpa,llmdeployment", NAME)

"""What cannot hold is said before a pod starts; what is refused at apply or later is said too."""

import copy
import time
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.support import install
from e2e.support.kubectl import Kubectl, Object, condition, eventually, is_true
from e2e.support.resources import pods_of, tiny


def test_infeasible_slo_starts_no_pods(kubectl: Kubectl) -> None:
    kubectl.apply(
        tiny(
            "hopeless",
            slo={
                "timeToFirstToken": {"p95": "1ms"},
                "timePerOutputToken": {"p95": "1ms"},
            },
        )
    )
    refused = eventually(
        "a verdict", lambda: condition(kubectl.get("llmdeployment", "hopeless"), "SLOFeasible")
    )
    resource = kubectl.get("llmdeployment", "hopeless")
    assert resource is not None
    print(refused["message"])
    assert refused["status"] == "False"
    assert "1ms" in refused["message"] or "1.0ms" in refused["message"]
    assert resource["status"]["feasibility"]["bindingConstraint"]
    assert resource["status"]["feasibility"]["alternatives"]
    ready = condition(resource, "Ready")
    assert ready is not None
    assert ready["status"] == "False"
    assert kubectl.list("deployments,pods", pods_of("hopeless")) == []

    # Taking the way out that the status names makes it serve-able at once.
    kubectl.merge(
        "llmdeployment",
        "hopeless",
        {
            "spec": {
                "slo": {"timeToFirstToken": {"p95": "5s"}, "timePerOutputToken": {"p95": "500ms"}}
            }
        },
    )
    eventually("a deployment", lambda: kubectl.get("deployment", "hopeless"))
    kubectl.run("delete", "llmdeployment", "hopeless")


INVALID: list[tuple[str, dict[str, Any]]] = [
    ("spec.model.source", {"model": {"source": "s3://bucket/model"}}),
    ("spec.model", {"model": {}}),
    ("spec.model.revision", {"model": {"source": "hf://org/name", "revision": "main"}}),
    ("spec.workload.requestsPerSecond", {"workload": {"requestsPerSecond": "-1"}}),
    (
        "spec.workload.trace",
        {
            "workload": {
                "trace": {"configMapKeyRef": {"name": "traffic"}},
                "promptTokens": {"mean": 20},
            }
        },
    ),
    ("spec.workload.promptTokens.mean", {"workload": {"promptTokens": {"mean": 0}}}),
    (
        "spec.workload.outputTokens.p95",
        {"workload": {"outputTokens": {"mean": 100, "p95": 10}}},
    ),
    ("spec.slo.timeToFirstToken.p95", {"slo": {"timeToFirstToken": {"p95": "fast"}}}),
    ("spec.slo.whenInfeasible", {"slo": {"whenInfeasible": "Maybe"}}),
    ("spec.scaling.maxReplicas", {"scaling": {"minReplicas": 3, "maxReplicas": 2}}),
    ("spec.pin.maxNumSeqs", {"pin": {"maxNumSeqs": 0}}),
    ("spec.precision.weights", {"precision": {"weights": "FP3"}}),
    ("spec.precision.kvCache", {"precision": {"weights": "BF16", "kvCache": "FP32"}}),
    ("spec.gpus", {"gpus": 4}),
]


@pytest.mark.parametrize(("field", "spec"), INVALID, ids=[field for field, _ in INVALID])
def test_invalid_spec_is_refused_with_its_field(
    kubectl: Kubectl, field: str, spec: dict[str, Any]
) -> None:
    resource = tiny("invalid")
    resource["spec"] = {**copy.deepcopy(resource["spec"]), **spec}
    message = kubectl.refused(resource)
    print(message)
    assert field in message
    # What is needed is said in words, not as a regular expression.
    assert "should match" not in message


@pytest.fixture
def narrow(system: Kubectl) -> Iterator[Kubectl]:
    """kubectl in a namespace of its own, which a quota may close."""
    name = "plimsoll-e2e-quota"
    system.run("delete", "namespace", name, "--ignore-not-found", timeout=180)
    yield install.namespace(system, name)
    system.run("delete", "namespace", name, "--wait=false")


def quota(what: str) -> Object:
    """A ResourceQuota that allows none of something, such as `pods`."""
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "closed"},
        "spec": {"hard": {what: "0"}},
    }


def not_ready(kubectl: Kubectl, reason: str) -> Object | None:
    ready = condition(kubectl.get("llmdeployment", "squeezed"), "Ready")
    return ready if ready and (ready["status"], ready["reason"]) == ("False", reason) else None


def warnings(kubectl: Kubectl, reason: str) -> list[Object]:
    """Events about LLMDeployments with that reason; the API server counts no repetitions."""
    return [
        event
        for event in kubectl.list("events.events.k8s.io")
        if event["reason"] == reason and event["regarding"]["kind"] == "LLMDeployment"
    ]


def test_what_a_quota_forbids_is_said_until_it_is_lifted(narrow: Kubectl) -> None:
    narrow.apply(quota("count/deployments.apps"))
    eventually(
        "the quota counts",
        lambda: (narrow.get("resourcequota", "closed") or {}).get("status", {}).get("hard"),
    )
    narrow.apply(tiny("squeezed"))

    # The Deployment itself is refused: told once, with the API server's words, and then silence.
    ready = eventually("the refusal", lambda: not_ready(narrow, "ChildRefused"))
    print(ready["message"])
    for part in ("Deployment squeezed", "403 Forbidden", "exceeded quota: closed"):
        assert part in ready["message"]
    refused = narrow.get("llmdeployment", "squeezed")
    assert is_true(refused, "Stalled")
    assert refused is not None
    assert narrow.get("service", "squeezed") is not None
    time.sleep(10)
    later = narrow.get("llmdeployment", "squeezed")
    assert later is not None
    assert later["metadata"]["resourceVersion"] == refused["metadata"]["resourceVersion"]
    assert len(warnings(narrow, "ChildRefused")) == 1

    # The Deployment may be made, its pods may not.
    narrow.apply(quota("pods"))
    ready = eventually("pods are refused", lambda: not_ready(narrow, "PodsRefused"))
    print(ready["message"])
    assert "0 of 1 replicas serve" in ready["message"]
    assert "1 replica cannot be created: exceeded quota: closed" in ready["message"]
    assert not is_true(narrow.get("llmdeployment", "squeezed"), "Stalled")

    narrow.run("delete", "resourcequota", "closed")
    eventually(
        "ready once the quota is gone",
        lambda: is_true(narrow.get("llmdeployment", "squeezed"), "Ready"),
        timeout=180,
    )

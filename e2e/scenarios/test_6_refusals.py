"""What cannot hold is said before a pod starts; what is not valid is refused at apply."""

import copy
from typing import Any

import pytest

from e2e.support.kubectl import Kubectl, condition, eventually
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

"""Metrics of resources: what their objects say, and nothing where they say nothing."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from plimsoll_operator.resource_metrics import ResourceCollector
from tests.unit.plimsoll_operator.samples import cpu_plan, raw_resource

IDENTITY = {"namespace": "ml", "llmdeployment": "chat"}
SERVING = raw_resource(
    spec={"slo": {"timeToFirstToken": {"p95": "700ms"}, "timePerOutputToken": {"p95": "50ms"}}},
    status={
        "replicas": 3,
        "readyReplicas": 2,
        "plan": cpu_plan().model_dump(mode="json", by_alias=True, exclude_none=True),
        "conditions": [{"type": "Ready", "status": "True", "reason": "Serving"}],
    },
)


def registry(*resources: dict[str, Any]) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(ResourceCollector(lambda: resources))
    return made


def value(made: CollectorRegistry, name: str, **labels: str) -> float | None:
    return made.get_sample_value(f"plimsoll_operator_{name}", {**IDENTITY, **labels})


def test_what_a_resource_says() -> None:
    made = registry(SERVING)
    ready = {"type": "Ready", "status": "True", "reason": "Serving"}
    assert value(made, "condition", **ready) == 1
    assert value(made, "deployment_replicas", state="existing") == 3
    assert value(made, "deployment_replicas", state="ready") == 2
    assert value(made, "predicted_seconds", objective="time_to_first_token") == 0.12
    objective = {"objective": "time_to_first_token", "le": "0.8"}
    assert value(made, "objective_seconds", **objective) == 0.7


@pytest.mark.parametrize(
    ("promised", "le"),
    [("500ms", "0.5"), ("501ms", "0.6"), ("1s", "1.0"), ("1ms", "0.001"), ("2h", "7680.0")],
)
def test_an_objective_falls_into_the_first_bucket_not_below(promised: str, le: str) -> None:
    made = registry(raw_resource(spec={"slo": {"timeToFirstToken": {"p95": promised}}}))
    labels = {"objective": "time_to_first_token", "le": le}
    assert value(made, "objective_seconds", **labels) is not None


@pytest.mark.parametrize("promised", ["3h", "soon", ""])
def test_what_no_bucket_holds_has_no_series(promised: str) -> None:
    made = registry(raw_resource(spec={"slo": {"timeToFirstToken": {"p95": promised}}}))
    assert not any(family.samples for family in made.collect() if "objective" in family.name)


def test_a_resource_without_a_status_counts_no_replicas() -> None:
    made = registry(raw_resource())
    assert value(made, "deployment_replicas", state="ready") == 0
    assert sum(len(family.samples) for family in made.collect()) == 2

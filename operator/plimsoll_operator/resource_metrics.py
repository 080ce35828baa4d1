"""Metrics of every LLMDeployment, read from the store when Prometheus asks.

They join with those of the engines by `namespace` and `llmdeployment`. An objective also bears
`le`, the smallest bound of the engine's histogram that is not below it, so that one rule can count
the slow requests of every deployment by its own objective.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from plimsoll_operator.api.quantity import parse_duration
from plimsoll_runtime.core.buckets import GAPS, LATENCIES

OBJECTIVES = {
    "time_to_first_token": ("timeToFirstToken", LATENCIES),
    "time_per_output_token": ("timePerOutputToken", GAPS),
}
"""The label `objective`: the field of `spec.slo`, and the engine's histogram."""
LABELS = ("namespace", "llmdeployment")
Raw = Mapping[str, Any]


class ResourceCollector(Collector):
    """`resources` gives all LLMDeployments as the API server sent them."""

    def __init__(self, resources: Callable[[], Iterable[Raw]]) -> None:
        self._resources = resources

    def collect(self) -> Iterator[Metric]:
        """One snapshot; what is absent or does not parse has no series."""
        conditions = GaugeMetricFamily(
            "plimsoll_operator_condition",
            "1 for each condition of an LLMDeployment, with what it says.",
            labels=(*LABELS, "type", "status", "reason"),
        )
        replicas = GaugeMetricFamily(
            "plimsoll_operator_deployment_replicas",
            "Replicas of an LLMDeployment: existing or ready.",
            labels=(*LABELS, "state"),
        )
        objectives = GaugeMetricFamily(
            "plimsoll_operator_objective_seconds",
            "What 95 of 100 requests are promised, and the bucket that it falls into.",
            labels=(*LABELS, "objective", "le"),
        )
        predicted = GaugeMetricFamily(
            "plimsoll_operator_predicted_seconds",
            "95th percentile that the plan in force predicts.",
            labels=(*LABELS, "objective"),
        )
        for raw in self._resources():
            labels = (str(raw["metadata"]["namespace"]), str(raw["metadata"]["name"]))
            status = raw.get("status") or {}
            for each in status.get("conditions") or ():
                told = (str(each.get(key, "")) for key in ("type", "status", "reason"))
                conditions.add_metric((*labels, *told), 1)
            for state, field in (("existing", "replicas"), ("ready", "readyReplicas")):
                replicas.add_metric((*labels, state), status.get(field) or 0)
            slo = (raw.get("spec") or {}).get("slo")
            figures = (status.get("plan") or {}).get("predicted")
            for objective, (field, bounds) in OBJECTIVES.items():
                promised, expected = _seconds(slo, field), _seconds(figures, field)
                bucket = None if promised is None else _bucket(promised, bounds)
                if promised is not None and bucket is not None:
                    objectives.add_metric((*labels, objective, bucket), promised)
                if expected is not None:
                    predicted.add_metric((*labels, objective), expected)
        return iter((conditions, replicas, objectives, predicted))

    def describe(self) -> Iterator[Metric]:
        """Names no metrics ahead, so that registering reads nothing."""
        return iter(())


def _seconds(figures: Raw | None, field: str) -> float | None:
    text = ((figures or {}).get(field) or {}).get("p95")
    try:
        return None if text is None else parse_duration(str(text))
    except ValueError:
        return None


def _bucket(seconds: float, bounds: tuple[float, ...]) -> str | None:
    """The label `le` of the smallest bound that is not below; None beyond all of them."""
    index = bisect_left(bounds, seconds)
    if index == len(bounds):
        return None
    return str(floatToGoString(bounds[index]))  # type: ignore[no-untyped-call]

"""The metrics that Plimsoll's processes really expose, with the labels of each series.

Both registries are asked; what Prometheus adds by the shipped monitors is added to them.
"""

from collections.abc import Iterable
from typing import Any, cast

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from plimsoll_operator import metrics as operator_metrics
from plimsoll_operator.resource_metrics import ResourceCollector
from plimsoll_runtime.core.limits import LiveLimits
from plimsoll_runtime.core.queue import QueueCount
from plimsoll_runtime.engine.handle import EngineHandle
from plimsoll_runtime.engine.stats import EngineStats, SpeculationStats
from plimsoll_runtime.server.metrics import Metrics

Exposed = dict[str, frozenset[str]]
"""Name of a series, as in PromQL, and the names of its labels."""
_SCRAPED = {"job", "instance", "namespace", "pod"}
_OF_HISTOGRAMS = ("_bucket", "_count", "_sum")


class _Idle:
    """An engine that has served a little, in as far as metrics ask for it."""

    def stats(self) -> EngineStats:
        return EngineStats(
            num_running=1,
            num_waiting=1,
            kv_cache_usage=0.5,
            num_blocks=8,
            block_size=16,
            num_preemptions=0,
            prefix_cache_queries=1,
            prefix_cache_hits=1,
            num_steps=1,
            last_step_time=0,
            stalled_seconds=0,
            step_samples=(),
            limits=LiveLimits(1, 16, 8),
            waiting=(QueueCount("a", 0, 1, 1),),
            mean_output_tokens=None,
            speculation=SpeculationStats(1, 1, (1,)),
        )


def engine_text() -> str:
    """What an engine's /metrics answers."""
    return Metrics(cast("EngineHandle", _Idle()), "tiny").exposition().decode()


def engine() -> Exposed:
    """Series of an engine, as the PodMonitor makes Prometheus keep them."""
    found: Exposed = {}
    for family in text_string_to_metric_families(engine_text()):
        for sample in family.samples:
            labels = frozenset(sample.labels) | _SCRAPED | {"llmdeployment"}
            found[sample.name] = found.get(sample.name, frozenset()) | labels
    return found


def operator(resources: Iterable[dict[str, Any]]) -> Exposed:
    """Series of the operator that knows `resources`."""
    found = _declared()
    registry = CollectorRegistry()
    registry.register(ResourceCollector(lambda: resources))
    for family in (*operator_metrics.REGISTRY.collect(), *registry.collect()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, _SCRAPED) | frozenset(sample.labels)
    return found


def _declared() -> Exposed:
    """Metrics with labels of which no series exists before something happened."""
    found: Exposed = {}
    for metric in vars(operator_metrics).values():
        if isinstance(metric, MetricWrapperBase):
            for family in metric.describe():
                suffixes = {"counter": ("_total",), "histogram": _OF_HISTOGRAMS}
                for suffix in suffixes.get(family.type, ("",)):
                    labels = frozenset(metric._labelnames) | _SCRAPED
                    found[family.name + suffix] = labels
    return found

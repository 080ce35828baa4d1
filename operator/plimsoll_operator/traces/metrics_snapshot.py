"""A workload from an engine's /metrics: what it counted between two looks, or since its start.

The names are vLLM's, which Plimsoll's engine has too. There is no trace in them, only how many
requests there were and how their lengths are distributed over the buckets of histograms.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from plimsoll_planner.inputs import Lengths, Workload

PROMPTS, OUTPUTS = "vllm:request_prompt_tokens", "vllm:request_generation_tokens"
_NAMES = (PROMPTS, OUTPUTS)


class SnapshotError(ValueError):
    """A snapshot cannot be used; the message says why, and the way out."""


@dataclass
class Histogram:
    """Counts up to each bound, and the sum of all values; of all engines and models together."""

    total: float = 0.0
    count: float = 0.0
    buckets: dict[float, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, kind: str, labels: Mapping[str, str], value: float) -> None:
        """Takes one sample; `kind` is what follows the histogram's name and an underscore."""
        if kind == "bucket":
            self.buckets[float(labels["le"])] += value
        elif kind == "sum":
            self.total += value
        elif kind == "count":
            self.count += value

    def since(self, earlier: "Histogram") -> "Histogram":
        """What came after `earlier`. Raises SnapshotError where that has more."""
        if self.count < earlier.count:
            raise SnapshotError(
                "the later snapshot counts fewer requests than the earlier: the engine was "
                "restarted between them, or they are in the wrong order"
            )
        buckets = {
            bound: count - earlier.buckets.get(bound, 0.0) for bound, count in self.buckets.items()
        }
        return Histogram(self.total - earlier.total, self.count - earlier.count, buckets)

    def quantile(self, share: float) -> float:
        """By linear interpolation inside a bucket, as PromQL's histogram_quantile.

        Where it is above every bound, the highest of them: the quantile is at least that.
        """
        rank, low, before = share * self.count, 0.0, 0.0
        for bound, count in sorted(self.buckets.items()):
            if count >= rank:
                if math.isinf(bound):
                    break
                part = (rank - before) / (count - before) if count > before else 1.0
                return low + (bound - low) * part
            low, before = bound, count
        return low


Snapshot = Mapping[str, Histogram]


def looks_like_metrics(text: str) -> bool:
    """Whether a text is in Prometheus' exposition format rather than JSON lines or CSV."""
    return text.startswith(("# HELP", "# TYPE", "vllm:"))


def parse_snapshot(text: str) -> Snapshot:
    """The histograms of lengths in a text of the exposition format. Raises SnapshotError."""
    found = {name: Histogram() for name in _NAMES}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name, _, kind = sample.name.rpartition("_")
                if name in found:
                    found[name].add(kind, sample.labels, sample.value)
    except (ValueError, KeyError) as error:
        raise SnapshotError(f"not in Prometheus' exposition format: {error}") from error
    for name, histogram in found.items():
        if not histogram.buckets:
            raise SnapshotError(f"has no histogram {name}: give what vLLM's /metrics answers")
    return found


def workload_between(earlier: Snapshot | None, later: Snapshot, seconds: float) -> Workload:
    """The traffic of `seconds` seconds; since the engine's start where `earlier` is None.

    Raises SnapshotError where nothing ended in that time.
    """
    if not seconds > 0:
        raise SnapshotError(f"the time between the snapshots must be above 0 s, not {seconds:g}")
    prompts, outputs = (
        later[name] if earlier is None else later[name].since(earlier[name]) for name in _NAMES
    )
    if prompts.count < 1 or outputs.count < 1:
        raise SnapshotError("no request ended between the snapshots: take them further apart")
    return Workload(prompts.count / seconds, _lengths(prompts), _lengths(outputs))


def _lengths(histogram: Histogram) -> Lengths:
    mean = max(1, round(histogram.total / histogram.count))
    return Lengths(mean, max(mean, round(histogram.quantile(0.95))))

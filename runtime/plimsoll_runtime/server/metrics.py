"""Prometheus metrics under vLLM's names and labels, so that its dashboards and scalers work."""

from collections import Counter as Counts
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from plimsoll_runtime.core.admission import Reason
from plimsoll_runtime.core.buckets import GAPS, LATENCIES
from plimsoll_runtime.core.queue import QueueCount
from plimsoll_runtime.core.request import FinishReason
from plimsoll_runtime.engine.handle import EngineHandle
from plimsoll_runtime.engine.stats import EngineStats
from plimsoll_runtime.server.token_metrics import TokenMetrics

LABELS = ("model_name", "engine")
ENGINE = "0"
MAX_QUEUES_SHOWN = 32
OTHERS = "other"

TOKENS = tuple(base * 10**power for power in range(6) for base in (1, 2, 5))
FINISH_REASONS = tuple(reason.value for reason in FinishReason)


class Metrics:
    """What the server observes, and the engine's own figures read at each scrape.

    Not thread-safe beyond what prometheus_client is; every observation comes from the event loop.
    """

    def __init__(self, engine: EngineHandle, model_name: str) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(EngineCollector(engine, model_name))
        labels = (model_name, ENGINE)

        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, LABELS, registry=self.registry).labels(*labels)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, LABELS, buckets=buckets, registry=self.registry).labels(
                *labels
            )

        success = Counter(
            "vllm:request_success",
            "Requests that ended, by reason.",
            (*LABELS, "finished_reason"),
            registry=self.registry,
        )
        self._success = {reason: success.labels(*labels, reason) for reason in FINISH_REASONS}
        self.prompt_tokens = counter("vllm:prompt_tokens", "Prompt tokens processed.")
        self.prompt_tokens_cached = counter(
            "vllm:prompt_tokens_cached", "Prompt tokens found in the KV cache."
        )
        self.tokens = TokenMetrics(LABELS, labels)
        self.registry.register(self.tokens)
        self.time_to_first_token = histogram(
            "vllm:time_to_first_token_seconds", "From arrival to the first token.", LATENCIES
        )
        self.time_per_output_token = histogram(
            "vllm:request_time_per_output_token_seconds",
            "A request's mean time per token after the first.",
            GAPS,
        )
        self.e2e_latency = histogram(
            "vllm:e2e_request_latency_seconds",
            "From arrival to the last token, or to the vector.",
            LATENCIES,
        )
        self.queue_time = histogram(
            "vllm:request_queue_time_seconds", "From arrival to the first step.", LATENCIES
        )
        self.prefill_time = histogram(
            "vllm:request_prefill_time_seconds", "From first step to first token.", LATENCIES
        )
        self.decode_time = histogram(
            "vllm:request_decode_time_seconds", "From first to last token.", LATENCIES
        )
        self.inference_time = histogram(
            "vllm:request_inference_time_seconds", "From first step to last token.", LATENCIES
        )
        self.request_prompt_tokens = histogram(
            "vllm:request_prompt_tokens", "A request's prompt tokens.", TOKENS
        )
        self.request_generation_tokens = histogram(
            "vllm:request_generation_tokens", "A request's generated tokens.", TOKENS
        )
        rejections = Counter(
            "plimsoll:requests_rejected",
            "Requests that were turned away before they reached the engine, by reason.",
            (*LABELS, "reason"),
            registry=self.registry,
        )
        self._rejections = {each: rejections.labels(*labels, each.value) for each in Reason}
        self.params_n = histogram("vllm:request_params_n", "The parameter n.", (1, 2, 5, 10, 20))
        self.params_max_tokens = histogram(
            "vllm:request_params_max_tokens", "The parameter max_tokens.", TOKENS
        )

    def ended(self, reason: FinishReason) -> None:
        """Counts a request that ended."""
        self._success[reason.value].inc()

    def rejected(self, reason: Reason) -> None:
        """Counts a request that was turned away."""
        self._rejections[reason].inc()

    def exposition(self) -> bytes:
        """The text format."""
        return generate_latest(self.registry)


def by_tenant(waiting: Sequence[QueueCount], most: int) -> dict[tuple[str, str], int]:
    """Waiting requests by tenant and priority, all but the `most` pairs with the most as one.

    Clients choose priorities and may choose tenants, so without a bound they choose our series.
    """
    counts = Counts[tuple[str, str]]()
    for each in waiting:
        counts[each.tenant, str(each.priority)] += each.num_requests
    shown = dict(counts.most_common(most))
    rest = counts.total() - sum(shown.values())
    if rest:
        shown[OTHERS, OTHERS] = shown.get((OTHERS, OTHERS), 0) + rest
    return shown


class EngineCollector(Collector):
    """Gauges and counters that the engine keeps, read when Prometheus asks."""

    def __init__(self, engine: EngineHandle, model_name: str) -> None:
        self._engine = engine
        self._model_name = model_name

    def collect(self) -> Iterator[Metric]:
        """Reads one snapshot."""
        stats = self._engine.stats()
        labels = (self._model_name, ENGINE)
        gauges = {
            "vllm:num_requests_running": ("Requests in the batch.", stats.num_running),
            "vllm:num_requests_waiting": ("Requests in the queue.", stats.num_waiting),
            "vllm:kv_cache_usage_perc": ("KV cache in use; 1 is all.", stats.kv_cache_usage),
        }
        for name, (text, value) in gauges.items():
            gauge = GaugeMetricFamily(name, text, labels=LABELS)
            gauge.add_metric(labels, value)
            yield gauge
        yield self._waiting(stats)
        counters = {
            "vllm:num_preemptions": ("Preemptions.", stats.num_preemptions),
            "vllm:prefix_cache_queries": (
                "Tokens of admitted requests, looked up in the KV cache.",
                stats.prefix_cache_queries,
            ),
            "vllm:prefix_cache_hits": (
                "Tokens of admitted requests, found in the KV cache.",
                stats.prefix_cache_hits,
            ),
        }
        for name, (text, value) in counters.items():
            counter = CounterMetricFamily(name, text, labels=LABELS)
            counter.add_metric(labels, value)
            yield counter
        yield from self._speculation(stats)
        info = {
            "block_size": str(stats.block_size),
            "num_gpu_blocks": str(stats.num_blocks),
            "engine": ENGINE,
        }
        config = GaugeMetricFamily(
            "vllm:cache_config_info", "The KV cache's shape.", labels=tuple(info)
        )
        config.add_metric(tuple(info.values()), 1)
        yield config

    def _waiting(self, stats: EngineStats) -> Metric:
        gauge = GaugeMetricFamily(
            "plimsoll:num_requests_waiting",
            "Requests in the queue by tenant and priority.",
            labels=(*LABELS, "tenant", "priority"),
        )
        for (tenant, priority), count in by_tenant(stats.waiting, MAX_QUEUES_SHOWN).items():
            gauge.add_metric((self._model_name, ENGINE, tenant, priority), count)
        return gauge

    def _speculation(self, stats: EngineStats) -> Iterator[Metric]:
        told = stats.speculation
        if told is None:
            return
        labels = (self._model_name, ENGINE)
        counters = {
            "drafts": ("Times that a request had drafts checked.", told.num_drafts),
            "draft_tokens": ("Tokens drafted.", told.num_draft_tokens),
            "accepted_tokens": ("Drafted tokens accepted.", told.num_accepted_tokens),
        }
        for name, (text, value) in counters.items():
            counter = CounterMetricFamily(f"vllm:spec_decode_num_{name}", text, labels=LABELS)
            counter.add_metric(labels, value)
            yield counter
        accepted = CounterMetricFamily(
            "vllm:spec_decode_num_accepted_tokens_per_pos",
            "Drafted tokens accepted, by position in the draft.",
            labels=(*LABELS, "position"),
        )
        for position, count in enumerate(told.accepted_by_position):
            accepted.add_metric((*labels, str(position)), count)
        yield accepted

    def describe(self) -> Iterator[Metric]:
        """Names no metrics ahead, so that registering does not ask the engine."""
        return iter(())

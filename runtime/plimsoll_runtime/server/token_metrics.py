"""Metrics that change with every token.

As prometheus_client's, but for one thread: without locks and checks at each token, and with a
binary search for the bucket.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from plimsoll_runtime.core.buckets import GAPS

BUCKETS = tuple(map(floatToGoString, (*GAPS, float("inf"))))


class TokenMetrics(Collector):
    """How many tokens were generated, and how far apart. For one thread, which also scrapes."""

    def __init__(self, names: Sequence[str], labels: Sequence[str]) -> None:
        self._names = names
        self._labels = labels
        self._num_tokens = 0
        self._counts = [0] * len(BUCKETS)
        self._sum = 0.0

    def first(self, count: int) -> None:
        """The first `count` tokens of a request came."""
        self._num_tokens += count

    def later(self, count: int, seconds: float) -> None:
        """`count` more came, `seconds` after those before."""
        self._num_tokens += count
        gap = seconds / count
        self._counts[bisect_left(GAPS, gap)] += 1
        self._sum += gap

    def collect(self) -> Iterator[Metric]:
        """Both, as prometheus_client's counter and histogram would be."""
        tokens = CounterMetricFamily(
            "vllm:generation_tokens", "Tokens generated.", labels=self._names
        )
        tokens.add_metric(self._labels, self._num_tokens)
        yield tokens
        gaps = HistogramMetricFamily(
            "vllm:inter_token_latency_seconds",
            "Between two tokens of a request.",
            labels=self._names,
        )
        counts = zip(BUCKETS, accumulate(self._counts), strict=True)
        gaps.add_metric(self._labels, list(counts), self._sum)
        yield gaps

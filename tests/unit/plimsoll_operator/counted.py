"""Counters as an engine would have them."""

import math

from plimsoll_operator.scaling.measurement import Counters
from plimsoll_operator.traces.metrics_snapshot import Histogram


def counted(
    requests: float,
    *,
    prompt: float,
    output: float,
    ttft: float = 0.2,
    tpot: float = 0.02,
    waiting: float = 0.0,
) -> Counters:
    """After so many requests of these mean lengths in tokens and longest latencies in seconds.

    Latencies are even between half of the longest and the longest, so that p95 is 97.5 % of it.
    """

    def lengths(mean: float) -> Histogram:
        return Histogram(mean * requests, requests, {mean: requests, math.inf: requests})

    def latencies(longest: float) -> Histogram:
        buckets = {longest / 2: 0.0, longest: requests, math.inf: requests}
        return Histogram(longest * requests, requests, buckets)

    return Counters(lengths(prompt), lengths(output), latencies(ttft), latencies(tpot), waiting)

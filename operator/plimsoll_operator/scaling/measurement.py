"""What engines have counted over the last minutes: pure, from cumulative metrics to figures."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from plimsoll_operator.traces.metrics_snapshot import Histogram

WINDOW_SECONDS = 900.0
KEEP_EVERY_SECONDS = 90.0
"""Of older looks at a replica one is kept for each such time."""
LEAST_SECONDS = 120.0
LEAST_REQUESTS = 100
"""So many requests put a mean of lengths that vary by their own size within 10 % or so."""


@dataclass(frozen=True)
class Counters:
    """What one replica has counted since its start. Lengths in tokens, latencies in seconds.

    `unfinished` are the requests that it runs or that wait.
    """

    prompts: Histogram
    outputs: Histogram
    first_token: Histogram
    per_token: Histogram
    unfinished: float

    @property
    def possible(self) -> bool:
        """Whether all counts are numbers, not negative, and no bucket has more than all."""
        return all(
            0 <= histogram.count < math.inf
            and all(0 <= count <= histogram.count for count in histogram.buckets.values())
            for histogram in (self.prompts, self.outputs, self.first_token, self.per_token)
        )


@dataclass(frozen=True)
class Look:
    """One replica's counters at `at`, in seconds."""

    at: float
    counters: Counters


@dataclass(frozen=True)
class Figures:
    """Over all replicas and a window of `seconds`: `requests` that ended, arrivals a second, means
    in tokens, 95th percentiles in seconds."""

    requests: float
    seconds: float
    requests_per_second: float
    prompt_tokens: float
    output_tokens: float
    ttft_p95: float
    tpot_p95: float


@dataclass(frozen=True)
class Window:
    """Looks by replica, oldest first. A replica that ended counts until its looks are too old."""

    looks: Mapping[str, tuple[Look, ...]] = field(default_factory=dict)

    def with_looks(self, news: Iterable[tuple[str, Look]], now: float) -> "Window":
        """The window with newer looks, and without what is too old at `now`.

        Where a replica counts less than before it has begun anew, and so do its looks.
        """
        looks = dict(self.looks)
        for replica, look in news:
            known = looks.get(replica, ())
            if known and known[-1].at >= look.at:
                continue
            if known and _restarted(known[-1].counters, look.counters):
                known = ()
            if len(known) > 1 and known[-1].at - known[-2].at < KEEP_EVERY_SECONDS:
                known = known[:-1]
            looks[replica] = (*known, look)
        for replica, known in list(looks.items()):
            kept = tuple(look for look in known if look.at >= now - WINDOW_SECONDS)
            if kept:
                looks[replica] = kept
            else:
                del looks[replica]
        return Window(looks)

    def figures(self) -> Figures | None:
        """What was measured; None while that is too little to be told from chance."""
        spans = [(known[0], known[-1]) for known in self.looks.values()]
        if not spans:
            return None
        seconds = max(last.at for _, last in spans) - min(first.at for first, _ in spans)
        prompts, outputs, first_token, per_token = (
            _sum(
                getattr(last.counters, name).since(getattr(first.counters, name))
                for first, last in spans
            )
            for name in ("prompts", "outputs", "first_token", "per_token")
        )
        if seconds < LEAST_SECONDS or min(prompts.count, outputs.count) < LEAST_REQUESTS:
            return None
        begun = sum(last.counters.unfinished - first.counters.unfinished for first, last in spans)
        return Figures(
            requests=prompts.count,
            seconds=seconds,
            requests_per_second=max(0.0, prompts.count + begun) / seconds,
            prompt_tokens=prompts.total / prompts.count,
            output_tokens=outputs.total / outputs.count,
            ttft_p95=first_token.quantile(0.95),
            tpot_p95=per_token.quantile(0.95),
        )


def _restarted(before: Counters, after: Counters) -> bool:
    return any(
        getattr(after, name).count < getattr(before, name).count
        for name in ("prompts", "outputs", "first_token", "per_token")
    )


def _sum(histograms: Iterable[Histogram]) -> Histogram:
    total = Histogram()
    for histogram in histograms:
        total.total += histogram.total
        total.count += histogram.count
        for bound, count in histogram.buckets.items():
            total.buckets[bound] += count
    return total

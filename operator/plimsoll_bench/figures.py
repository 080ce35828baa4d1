"""The figures of a load, from what became of its requests."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from plimsoll_bench.record import Record

LATENESS, CPU_SHARE = 0.02, 0.8
"""Seconds (p99), and the share of a core, beyond which the client disturbs what it measures."""


@dataclass(frozen=True)
class Spread:
    """Of one figure, in seconds: its mean and percentiles, linear between neighbours as numpy's.

    The planner's are by nearest rank, where the 99th of less than a hundred values is the largest
    one; others' load generators interpolate, and figures are to be compared with theirs.
    """

    mean: float
    p10: float
    p25: float
    p50: float
    p75: float
    p90: float
    p95: float
    p99: float
    most: float


@dataclass(frozen=True)
class Objectives:
    """What a request must keep to count as good, in seconds; None is no objective."""

    ttft: float | None = None
    tpot: float | None = None

    def __bool__(self) -> bool:
        return self.ttft is not None or self.tpot is not None


@dataclass(frozen=True)
class Figures:
    """Of the requests whose answers count; `seconds` from the beginning to the last end.

    Latencies count from when a request was due. `itl` are the gaps between pieces of an answer,
    `output_rate` and `total_rate` tokens per second, `prefill_rate` tokens of the prompt per second
    of TTFT where there is only one request. `goodput` are good requests per second, None without
    objectives; a request that failed is not good.
    """

    requests: int
    seconds: float
    prompt_tokens: int
    output_tokens: int
    ttft: Spread | None
    tpot: Spread | None
    itl: Spread | None
    e2e: Spread | None
    request_rate: float
    output_rate: float
    total_rate: float
    prefill_rate: float | None = None
    goodput: float | None = None
    good_share: float | None = None
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Requests without an answer that counts."""
        return sum(self.failures.values())


@dataclass(frozen=True)
class ClientFigures:
    """How well the client kept up. Seconds: by which it turned to requests too late, and by which
    its timer woke it too late; the share of a core that it used."""

    late_p99: float
    lag_p99: float
    cpu_share: float

    @property
    def trouble(self) -> str:
        """Why the figures may be the client's rather than the server's; empty where it kept up."""
        if self.late_p99 > LATENESS:
            return f"requests went out up to {self.late_p99 * 1e3:.0f} ms late (p99)"
        if self.lag_p99 > LATENESS:
            return f"the client was woken up to {self.lag_p99 * 1e3:.0f} ms late (p99)"
        if self.cpu_share > CPU_SHARE:
            return f"the client computed for {self.cpu_share:.0%} of the time"
        return ""


def spread(values: Iterable[float]) -> Spread | None:
    """Of values in any order; None where there are none."""
    found = sorted(values)
    if not found:
        return None
    cuts = statistics.quantiles(found, n=100, method="inclusive") if len(found) > 1 else found * 99
    p10, p25, p50, p75, p90, p95, p99 = (cuts[each - 1] for each in (10, 25, 50, 75, 90, 95, 99))
    return Spread(statistics.fmean(found), p10, p25, p50, p75, p90, p95, p99, found[-1])


def figures(records: Sequence[Record], objectives: Objectives) -> Figures:
    """Of all requests of a load."""
    right = [each for each in records if not each.failure]
    seconds = max((each.ended for each in records), default=0.0)
    prompts, outputs = (
        sum(each.prompt_tokens for each in right),
        sum(each.output_tokens for each in right),
    )
    good = sum(_is_good(each, objectives) for each in right)
    first = right[0].ttft if len(records) == 1 and right else None
    return Figures(
        requests=len(records),
        seconds=seconds,
        prompt_tokens=prompts,
        output_tokens=outputs,
        ttft=spread(each.ttft for each in right if each.ttft is not None),
        tpot=spread(each.tpot for each in right if each.tpot is not None),
        itl=spread(gap for each in right for gap in _gaps(each)),
        e2e=spread(each.e2e for each in right),
        request_rate=_per(len(right), seconds),
        output_rate=_per(outputs, seconds),
        total_rate=_per(prompts + outputs, seconds),
        prefill_rate=_per(prompts, first) if first else None,
        goodput=_per(good, seconds) if objectives else None,
        good_share=_per(good, len(records)) if objectives else None,
        failures=dict(sorted(Counter(each.failure for each in records if each.failure).items())),
    )


def client_figures(
    records: Sequence[Record], lags: Sequence[float], cpu_seconds: float, seconds: float
) -> ClientFigures:
    """Of a client that ran for `seconds`."""
    late, lag = spread(each.begun - each.due for each in records), spread(lags)
    return ClientFigures(
        late.p99 if late else 0.0, lag.p99 if lag else 0.0, _per(cpu_seconds, seconds)
    )


def _is_good(record: Record, objectives: Objectives) -> bool:
    ttft, tpot = record.ttft, record.tpot
    return (objectives.ttft is None or (ttft is not None and ttft <= objectives.ttft)) and (
        objectives.tpot is None or tpot is None or tpot <= objectives.tpot
    )


def _gaps(record: Record) -> Iterable[float]:
    return (later - sooner for sooner, later in pairwise(record.times))


def _per(amount: float, of: float) -> float:
    return amount / of if of > 0 else 0.0

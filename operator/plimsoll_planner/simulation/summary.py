"""A simulation in figures: percentiles, goodput, use."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from plimsoll_planner.inputs import Objectives
from plimsoll_planner.simulation.replica import Served
from plimsoll_planner.simulation.simulator import Run

BATCHES = 10
_T95 = 2.2621571627409915
"""97.5th percentile of Student's t with BATCHES - 1 degrees of freedom."""
_LEAST_BATCH = 40
"""Values that a batch needs for a 95th percentile to be more than its largest one."""


@dataclass(frozen=True)
class Percentiles:
    """Of one figure over all measured requests, by nearest rank.

    `p95_error` is half the width of the 95 % confidence interval of `p95`; None where there are
    too few requests to say.
    """

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p95_error: float | None


@dataclass(frozen=True)
class Summary:
    """Figures of a run. Seconds; requests and tokens per second over all replicas.

    `itl` are p50, p90, p95, p99 of single gaps between tokens; percentiles are None where there is
    nothing to take them of. `goodput` counts requests that met every objective. `kv_cache_mean`
    and `kv_cache_peak` are shares of the blocks, `running` and `waiting` mean requests per replica
    while it computes, `utilisation` the share of time that it does.
    """

    requests: int
    offered: float
    goodput: float
    ttft: Percentiles | None
    tpot: Percentiles | None
    e2e: Percentiles | None
    queue: Percentiles | None
    itl: tuple[float, float, float, float] | None
    output_tokens: float
    running: float
    waiting: float
    kv_cache_mean: float
    kv_cache_peak: float
    utilisation: float
    preemptions: int
    prefix_hits: float


def summary(run: Run, objectives: Objectives) -> Summary:
    """The figures of what was measured in a run."""
    served, totals = run.served, run.steps
    offered = (len(served) - 1) / run.seconds if run.seconds else 0.0
    good = sum(is_good(each, objectives) for each in served)
    blocks = run.model.limits.num_blocks
    computing = totals.seconds or 1.0
    prompts = sum(each.arrival.prompt_tokens for each in served)
    gaps = [totals.gap(share) for share in (0.5, 0.9, 0.95, 0.99)]
    known = tuple(gap for gap in gaps if gap is not None)
    return Summary(
        requests=len(served),
        offered=offered,
        goodput=offered * good / len(served) if served else 0.0,
        ttft=_of(served, lambda each: each.ttft),
        tpot=_of(served, lambda each: each.tpot),
        e2e=_of(served, lambda each: each.e2e),
        queue=_of(served, lambda each: each.queue),
        itl=(known[0], known[1], known[2], known[3]) if len(known) == 4 else None,
        output_tokens=totals.sampled / run.seconds if run.seconds else 0.0,
        running=totals.running_seconds / computing,
        waiting=totals.waiting_seconds / computing,
        kv_cache_mean=totals.block_seconds / computing / blocks,
        kv_cache_peak=totals.most_blocks / blocks,
        utilisation=min(1.0, totals.seconds / run.replicas / run.seconds) if run.seconds else 0.0,
        preemptions=sum(each.preemptions for each in served),
        prefix_hits=sum(each.cached_tokens for each in served) / prompts if prompts else 0.0,
    )


def is_good(served: Served, objectives: Objectives) -> bool:
    """Whether a request met every latency objective."""
    ttft, tpot = objectives.ttft_p95, objectives.tpot_p95
    return (ttft is None or served.ttft <= ttft) and (
        tpot is None or served.tpot is None or served.tpot <= tpot
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of sorted values, by nearest rank."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def percentiles(values: Sequence[float]) -> Percentiles | None:
    """Of values in the order of time; None where there are none."""
    if not values:
        return None
    ordered = sorted(values)
    p50, p90, p95, p99 = (percentile(ordered, share) for share in (0.5, 0.9, 0.95, 0.99))
    return Percentiles(fmean(values), p50, p90, p95, p99, _error(values, p95))


def _error(values: Sequence[float], p95: float) -> float | None:
    """Half the confidence interval of the 95th percentile, by sectioning.

    Asmussen and Glynn, "Stochastic Simulation", 2007, III.5a: the percentiles of batches of
    consecutive values, which are nearly independent where single ones are not, scatter around that
    of all as `sqrt(BATCHES)` times its own error.
    """
    size = len(values) // BATCHES
    if size < _LEAST_BATCH:
        return None
    batches = (values[i * size : (i + 1) * size] for i in range(BATCHES))
    squares = sum((percentile(sorted(batch), 0.95) - p95) ** 2 for batch in batches)
    return _T95 * math.sqrt(squares / (BATCHES - 1) / BATCHES)


def _of(served: Iterable[Served], figure: Callable[[Served], float | None]) -> Percentiles | None:
    return percentiles([value for each in served if (value := figure(each)) is not None])

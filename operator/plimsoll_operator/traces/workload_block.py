"""A workload as the block of an LLMDeployment, and what it leaves out of a trace."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any

from plimsoll_planner.inputs import Lengths, Workload
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.trace import cached_share
from plimsoll_planner.text import figure

_MINUTE = 60.0


def workload_block(workload: Workload) -> dict[str, Any]:
    """The keys and values of `spec.workload`."""
    block: dict[str, Any] = {
        "requestsPerSecond": figure(workload.requests_per_second),
        "promptTokens": _lengths(workload.prompt_tokens),
        "outputTokens": _lengths(workload.output_tokens),
    }
    if workload.shared_prefix_tokens:
        block["sharedPrefixTokens"] = workload.shared_prefix_tokens
    return block


def burstiness(trace: Sequence[Arrival]) -> str:
    """What the mean rate hides, in one line."""
    gaps = [after.at - before.at for before, after in pairwise(trace)]
    variation = pstdev(gaps) / fmean(gaps) if gaps and fmean(gaps) else 0.0
    minutes: dict[int, int] = {}
    for arrival in trace:
        minute = int(arrival.at // _MINUTE)
        minutes[minute] = minutes.get(minute, 0) + 1
    return (
        f"{figure(max(minutes.values()) / _MINUTE)} requests/s in the fullest minute; gaps vary by "
        f"{figure(variation)} times their mean (Poisson: 1)"
    )


def prefix_share(trace: Sequence[Arrival]) -> float | None:
    """Share of prompt tokens in blocks that came before; None where there are no prefix ids.

    That is what a prefix cache that never forgets would find.
    """
    if not any(each.prefix_ids for each in trace):
        return None
    return cached_share(trace)


def _lengths(lengths: Lengths) -> dict[str, int]:
    return {"mean": lengths.mean, "p95": lengths.p95}

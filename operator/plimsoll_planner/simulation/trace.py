"""Recorded traffic, and what of it a workload's figures say."""

from collections.abc import Sequence
from itertools import takewhile
from statistics import fmean

from plimsoll_planner.inputs import Lengths, Workload
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.summary import percentile


def mean_rate(trace: Sequence[Arrival]) -> float:
    """Requests per second from the first arrival to the last. Raises ValueError where that is no
    time at all."""
    seconds = trace[-1].at - trace[0].at if trace else 0.0
    if seconds <= 0:
        raise ValueError(f"{len(trace)} requests at one moment have no rate: give one")
    return (len(trace) - 1) / seconds


def at_rate(trace: Sequence[Arrival], rate: float) -> list[Arrival]:
    """The trace from time 0 on, its time stretched so that `rate` requests come a second.

    That keeps bursts as they are in relation to the mean gap.
    """
    factor = mean_rate(trace) / rate
    begin = trace[0].at
    return [arrival._replace(at=(arrival.at - begin) * factor) for arrival in trace]


def fullest(trace: Sequence[Arrival], count: int) -> tuple[Arrival, ...]:
    """The `count` requests in a row that came in the least time, from time 0 on; the first such."""
    begin = fullest_from(trace, count)
    part = trace[begin : begin + count]
    return tuple(each._replace(at=each.at - part[0].at) for each in part)


def fullest_from(trace: Sequence[Arrival], count: int) -> int:
    """Where that part begins."""
    if count >= len(trace):
        return 0
    return min(
        range(len(trace) - count + 1),
        key=lambda index: (trace[index + count - 1].at - trace[index].at, index),
    )


def workload_of(trace: Sequence[Arrival]) -> Workload:
    """Rate, mean and 95th percentile of lengths; the prefix that all requests have in common.

    Raises ValueError as `mean_rate` does.
    """
    return Workload(
        mean_rate(trace),
        _lengths([arrival.prompt_tokens for arrival in trace]),
        _lengths([arrival.output_tokens for arrival in trace]),
        shared_prefix(trace),
    )


def shared_prefix(trace: Sequence[Arrival]) -> int:
    """Tokens that all prompts begin with, as far as prefix ids tell."""
    first = min(trace, key=lambda each: len(each.prefix_ids))
    common = takewhile(
        lambda index: all(each.prefix_ids[index] == first.prefix_ids[index] for each in trace),
        range(len(first.prefix_ids)),
    )
    tokens = len(list(common)) * first.prefix_block
    return min(tokens, *(each.prompt_tokens for each in trace))


def cached_share(trace: Sequence[Arrival]) -> float:
    """Share of prompt tokens that a prefix cache finds which never forgets; 0 without prefix ids.

    That is blocks of a prompt's beginning that came before.
    """
    seen: set[int] = set()
    found = 0
    for each in trace:
        known = 0
        for prefix_id in each.prefix_ids:
            if prefix_id not in seen:
                break
            known += each.prefix_block
        found += min(known, each.prompt_tokens)
        seen.update(each.prefix_ids)
    return found / sum(each.prompt_tokens for each in trace)


def _lengths(tokens: list[int]) -> Lengths:
    return Lengths(max(1, round(fmean(tokens))), max(1, round(percentile(sorted(tokens), 0.95))))

"""The nearest promises, rates and costs that can be kept, as changes to try."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from plimsoll_planner.inputs import Objectives
from plimsoll_planner.search.infeasible_request import Change, Scene
from plimsoll_planner.search.options import HEADROOM, batch_tpot, limit_at
from plimsoll_planner.search.search import Bid, demand_of, search
from plimsoll_planner.text import duration, figure, round_down, round_up

_DIGITS = 2
_TRIED = 3
"""Bids that are tried out for the latencies that they reach: the nearest by the closed formulas."""


@dataclass(frozen=True)
class _Reached:
    """What could be promised of a bid with all its replicas, headroom included. Seconds."""

    ttft: float
    tpot: float


def ttft_p95(scene: Scene) -> Iterator[Change]:
    """The nearest TTFT to promise."""
    promised = scene.market.request.objectives
    if promised.ttft_p95 is not None:
        dropped = replace(promised, ttft_p95=None)
        for at in _stretched(_nearest(scene, dropped, lambda at: at.ttft)):
            yield (
                f"slo.timeToFirstToken.p95: {duration(at.ttft)}",
                scene.promising(replace(promised, ttft_p95=at.ttft)),
            )


def tpot_p95(scene: Scene) -> Iterator[Change]:
    """The nearest TPOT to promise."""
    promised = scene.market.request.objectives
    if promised.tpot_p95 is not None:
        dropped = replace(promised, tpot_p95=None)
        for at in _stretched(_nearest(scene, dropped, lambda at: at.tpot)):
            yield (
                f"slo.timePerOutputToken.p95: {duration(at.tpot)}",
                scene.promising(replace(promised, tpot_p95=at.tpot)),
            )


def both_latencies(scene: Scene) -> Iterator[Change]:
    """The nearest pair of both, by the one that is further off."""
    promised = scene.market.request.objectives
    ttft, tpot = promised.ttft_p95, promised.tpot_p95
    if ttft is None or tpot is None:
        return
    dropped = replace(promised, ttft_p95=None, tpot_p95=None)
    for at in _stretched(_nearest(scene, dropped, lambda at: max(at.ttft / ttft, at.tpot / tpot))):
        longer, slower = max(ttft, at.ttft), max(tpot, at.tpot)
        yield (
            f"slo.timeToFirstToken.p95: {duration(longer)} and "
            f"slo.timePerOutputToken.p95: {duration(slower)}",
            scene.promising(replace(promised, ttft_p95=longer, tpot_p95=slower)),
        )


def rate(scene: Scene) -> Iterator[Change]:
    """The highest load that can be served: as far as it is not refuted, and ever less of that."""
    request = scene.market.request
    served = [
        bid.bound * bid.option.sustained for bid in scene.bids if bid.bound >= request.min_replicas
    ]
    rates = [max(served) * factor for factor in (1.0, 0.95, 0.9, 0.8, 0.65)] if served else []
    for value in dict.fromkeys(round_down(rate, _DIGITS) for rate in rates):
        if 0.001 <= value < request.workload.requests_per_second:
            yield (
                f"workload.requestsPerSecond: {figure(value)}",
                replace(request, workload=replace(request.workload, requests_per_second=value)),
            )


def cost(scene: Scene) -> Iterator[Change]:
    """The least that it can cost."""
    promised = scene.market.request.objectives
    if promised.max_cost_per_million_tokens is None:
        return
    best = scene.best(scene.promising(replace(promised, max_cost_per_million_tokens=None)))
    if best is not None and best.cost_per_million_tokens is not None:
        value = round_up(best.cost_per_million_tokens, _DIGITS + 1)
        yield (
            f"slo.maxCostPerMillionTokens: {figure(value)}",
            scene.promising(replace(promised, max_cost_per_million_tokens=value)),
        )


def _nearest(
    scene: Scene, dropped: Objectives, distance: Callable[[_Reached], float]
) -> _Reached | None:
    """What could be promised with only what is left in `dropped`; None if nothing could."""
    request = scene.promising(dropped)
    demand, load = demand_of(request), request.workload.requests_per_second
    found: list[tuple[_Reached, Bid]] = []
    for bid in search(request, scene.market.remembered).bids:
        rate = load / max(1, bid.bound)
        if bid.feasible and limit_at(bid.option, demand, rate) is None:
            at = bid.option.latency(demand, rate)
            full = batch_tpot(bid.option, demand, at.running_p95)
            found.append((_promised(at.ttft_p95, max(at.tpot_p95, full)), bid))
    found.sort(key=lambda item: distance(item[0]))
    if not scene.trials.requests:
        return found[0][0] if found else None
    reached = []
    for closed, bid in found[:_TRIED]:
        rate = load / max(1, bid.bound)
        trial = scene.trials.attempt(request.workload, demand.max_model_len, bid.option, rate)
        if trial.keeps(dropped):
            seen = trial.measured
            tried = _promised(seen.ttft_p95, seen.tpot_p95)
            reached.append(replace(tried, tpot=max(tried.tpot, closed.tpot)))
    return min(reached, key=distance, default=None)


def _promised(ttft: float, tpot: float) -> _Reached:
    return _Reached(ttft / (1 - HEADROOM), tpot / (1 - HEADROOM))


def _stretched(least: _Reached | None) -> Iterator[_Reached]:
    """Ever looser ones, since a promise also moves the batch and so what is reached."""
    if least is not None:
        for factor in (1.0, 1.1, 1.25, 1.5, 2.0):
            yield _Reached(_writable(least.ttft * factor), _writable(least.tpot * factor))


def _writable(seconds: float) -> float:
    """Rounded up to what a duration of two digits says."""
    return max(1e-4, round_up(seconds, _DIGITS))

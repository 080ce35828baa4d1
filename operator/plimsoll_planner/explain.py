"""Sentences about plans: what limits them, with figures, in the words of the resource's fields."""

import math
from dataclasses import replace

from plimsoll_planner.performance.latency import latency
from plimsoll_planner.search.options import HEADROOM, Limit, limit_at, without_slots
from plimsoll_planner.search.partial_trial import Measured
from plimsoll_planner.search.products import known_names
from plimsoll_planner.search.search import Bid, Broken, Market, idle_latency
from plimsoll_planner.search.shape import Shape
from plimsoll_planner.text import duration, figure, money


def why_not_cheaper(market: Market, ranked: list[Bid]) -> str:
    """What stopped the winner, the first of `ranked`, from being cheaper."""
    winner = ranked[0]
    floor = max(1, market.request.min_replicas)
    if winner.replicas > floor:
        fewer = winner.replicas - 1
        rate = market.request.workload.requests_per_second / fewer
        limit = limit_at(winner.option, market.demand, rate)
        cause = "" if limit is None else f": {_limit_text(market, winner, limit, rate)}"
        if winner.refuted is not None:
            cause = f": {_refutation(market, winner.refuted.measured)}"
        return (
            f"{_replicas(fewer)} would each get {figure(rate)} requests/s, more than the "
            f"{figure(winner.option.sustained)} that {winner.shape} sustains{cause}"
        )
    lost = [(b.shape, b.shortage, b) for b in ranked if not b.feasible]
    smaller = [item for item in lost if _weight(item[0]) < _weight(winner.shape)]
    if smaller:
        _, _, nearest = min(smaller, key=lambda item: (item[1], str(item[0])))
        return f"{nearest.shape}, which is smaller, does not do: {why_it_lost(market, nearest)}"
    refused = [r for r in market.refusals if _weight(r.shape) < _weight(winner.shape)]
    if refused:
        refusal = min(refused, key=lambda item: (item.shortfall, str(item.shape)))
        return f"{refusal.shape}, which is smaller, does not do: {refusal.reason}"
    least = f" (minReplicas {floor})" if floor > 1 else ""
    return f"nothing smaller is on offer than {_replicas(winner.replicas)} of {winner.shape}{least}"


def _weight(shape: Shape) -> float:
    return shape.accelerators * shape.accelerator.bandwidth


def why_it_lost(market: Market, bid: Bid) -> str:
    """Why `bid`, which is not feasible, is not the plan."""
    request = market.request
    if bid.broken is Broken.LATENCY:
        return _too_slow(market, bid)
    if bid.broken in (Broken.ROOM, Broken.RATE):
        return _too_few(market, bid)
    if bid.broken is Broken.PRICE:
        return (
            f"maxCostPerMillionTokens is set but the price of {bid.shape.label} is unknown: "
            "give its Accelerator a pricePerHour, or its nodes the annotation "
            "plimsoll.dev/price-per-hour"
        )
    cost = bid.cost_per_million_tokens or 0.0
    promised = request.objectives.max_cost_per_million_tokens or 0.0
    return (
        f"{_replicas(bid.replicas)} of {bid.shape} cost {figure(cost)} per million output tokens "
        f"at {figure(request.workload.requests_per_second)} requests/s, above "
        f"maxCostPerMillionTokens {figure(promised)}"
    )


def why_not_taken(bid: Bid, winner: Bid) -> str:
    """Why a feasible bid is not the plan: the `ranking` went by price, then by accelerators."""
    dear, cheap = bid.cost_per_hour, winner.cost_per_hour
    if bid.lack is not None and winner.lack is None:
        return f"feasible, but {bid.lack.value}"
    if dear is not None and cheap is not None and dear > cheap:
        return f"feasible, but dearer: {money(dear)} an hour, not {money(cheap)}"
    if dear is None or cheap is None:
        more = bid.capability / winner.capability
        if more > 1:
            return f"feasible, but takes {figure(more)} × the memory bandwidth; a price is unknown"
    takes, least = (b.shape.accelerators * b.replicas for b in (bid, winner))
    if takes > least:
        return f"as cheap, but takes {takes:g} × {bid.shape.label}, not {least:g}"
    if bid.shape.label != winner.shape.label:
        return "as cheap; of equals the first by name is taken"
    return "as cheap; of equals the one with smaller replicas, or more throughput, is taken"


def what_is_missing(market: Market, ranked: list[Bid]) -> str:
    """What stands in the way of every bid, by the nearest of them."""
    nearest = min(market.refusals, key=lambda item: (item.shortfall, str(item.shape)), default=None)
    if ranked:
        reason, lack = why_it_lost(market, ranked[0]), ranked[0].lack
        if lack is None:
            return reason
        within = "" if nearest is None else f"{nearest.reason}; "
        return f"{within}{reason}; and {lack.value}"
    if nearest is not None:
        return nearest.reason
    request = market.request
    if market.unknown:
        return (
            f"no figures are known for {', '.join(market.unknown)}: describe it in an Accelerator, "
            f"or use what the catalogue has: {known_names()}"
        )
    if market.disallowed:
        return (
            f"no node offers any of accelerators.allow [{', '.join(request.allow)}]; the cluster "
            f"has [{', '.join(market.disallowed)}]"
        )
    return (
        "no schedulable node with free cores, or with GPUs and the label nvidia.com/gpu.product, "
        "is in the inventory"
    )


def _too_slow(market: Market, bid: Bid) -> str:
    """No load is small enough: the latency of an idle replica is too high."""
    idle = idle_latency(bid.option, market.demand, market.remembered)
    promised = market.demand.objectives
    slow = []
    for name, needs, limit in (
        (Limit.TTFT.value, idle.ttft_p95, promised.ttft_p95),
        (Limit.TPOT.value, idle.tpot_p95, promised.tpot_p95),
    ):
        if limit is not None and needs > limit * (1 - HEADROOM):
            slow.append(
                f"{name} p95 {duration(limit)}: {bid.shape} reaches {duration(needs)} even when "
                f"idle{_headroom(needs, limit)}"
            )
    if slow:
        return "; ".join(slow)
    if bid.refuted is not None:
        return f"{bid.shape} sustains no rate: {_refutation(market, bid.refuted.measured)}"
    limit_found = limit_at(bid.option, market.demand, bid.rate)
    cause = "" if limit_found is None else _limit_text(market, bid, limit_found, bid.rate)
    return f"{bid.shape} sustains no rate: {cause}"


def _too_few(market: Market, bid: Bid) -> str:
    request = market.request
    load = request.workload.requests_per_second
    if bid.capacity < request.min_replicas:
        return (
            f"the nodes hold {_replicas(bid.capacity)} of {bid.shape}, fewer than minReplicas "
            f"{request.min_replicas}"
        )
    serve = figure(bid.bound * bid.option.sustained)
    within = "within the SLO" if _promises(market) else "without overload"
    who = (
        f"maxReplicas {request.max_replicas} serve"
        if request.max_replicas <= bid.capacity
        else f"{_replicas(bid.capacity)}, all that the nodes hold, serve"
    )
    text = f"{who} {serve} of {figure(load)} requests/s on {bid.shape} {within}"
    if bid.refuted is not None:
        return f"{text}: {_refutation(market, bid.refuted.measured)}"
    if bid.limit is None:
        return text
    return f"{text}: {_limit_text(market, bid, bid.limit, load / max(1, bid.replicas))}"


def _refutation(market: Market, trial: Measured) -> str:
    """Which promise a simulation broke, and at what load of a replica."""
    promised = market.demand.objectives
    broken = [
        f"{name} p95 would be {duration(needs)}, promised {duration(limit)}"
        f"{_headroom(needs, limit)}"
        for name, needs, limit in (
            (Limit.TTFT.value, trial.ttft_p95, promised.ttft_p95),
            (Limit.TPOT.value, trial.tpot_p95, promised.tpot_p95),
        )
        if limit is not None and needs > limit * (1 - HEADROOM)
    ]
    what = " and ".join(broken) or "requests would wait ever longer"
    return f"at {figure(trial.rate)} requests/s {what}"


def _limit_text(market: Market, bid: Bid, limit: Limit, rate: float) -> str:
    found = bid.option.latency(market.demand, rate)
    promised = market.demand.objectives
    engine, memory = bid.option.engine, bid.option.memory
    if limit is Limit.TTFT and promised.ttft_p95 is not None:
        return (
            f"timeToFirstToken p95 would be {duration(found.ttft_p95)}, promised "
            f"{duration(promised.ttft_p95)}{_headroom(found.ttft_p95, promised.ttft_p95)}"
        )
    if limit is Limit.TPOT and promised.tpot_p95 is not None:
        return (
            f"timePerOutputToken p95 would be {duration(found.tpot_p95)}, promised "
            f"{duration(promised.tpot_p95)}{_headroom(found.tpot_p95, promised.tpot_p95)}"
        )
    if limit is Limit.SEQUENCES:
        if math.isinf(found.running_p95):
            found = latency(without_slots(engine), market.demand.traffic, rate)
        return (
            f"{math.ceil(found.running_p95)} sequences would run at once, more than "
            f"{_slots(market, bid)}"
        )
    if limit is Limit.KV_CACHE:
        return (
            f"{math.ceil(found.resident_p95)} tokens would be in the KV cache, which holds "
            f"{memory.kv_cache_tokens}"
        )
    return "prompts would arrive faster than they are computed"


def _slots(market: Market, bid: Bid) -> str:
    slots = bid.option.engine.max_num_seqs
    if market.request.pin.max_num_seqs is not None:
        return f"pin.maxNumSeqs {slots}"
    promised = market.demand.objectives.tpot_p95
    if promised is None:
        return f"maxNumSeqs {slots}"
    return f"maxNumSeqs {slots}, which timePerOutputToken p95 {duration(promised)} allows"


def _headroom(needs: float, promised: float) -> str:
    if needs > promised:
        return ""
    return f", which leaves less than the {HEADROOM:.0%} headroom for prediction error"


def _promises(market: Market) -> bool:
    promised = replace(market.demand.objectives, max_cost_per_million_tokens=None)
    return promised.ttft_p95 is not None or promised.tpot_p95 is not None


def _replicas(count: int) -> str:
    return f"{count} replica" if count == 1 else f"{count} replicas"

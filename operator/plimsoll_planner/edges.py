"""The nearest feasible points: one change each, proved by searching again with it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from plimsoll_planner.accelerators import CATALOGUE, CPU, same_product
from plimsoll_planner.inputs import AcceleratorPool, PlanRequest
from plimsoll_planner.options import HEADROOM, batch_tpot, limit_at
from plimsoll_planner.precision import AUTO, UNQUANTIZED
from plimsoll_planner.result import Alternative
from plimsoll_planner.search import Bid, Market, best_bid, demand_of, search
from plimsoll_planner.text import duration, figure, round_down, round_up

_SUGGESTED = frozenset(
    {
        "Tesla-T4",
        "NVIDIA-A10G",
        "NVIDIA-L4",
        "NVIDIA-L40S",
        "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition",
        "NVIDIA-A100-SXM4-40GB",
        "NVIDIA-A100-SXM4-80GB",
        "NVIDIA-H100-80GB-HBM3",
        "NVIDIA-H200",
        "NVIDIA-B200",
        "NVIDIA-B300-SXM6-AC",
    }
)
"""Products that clouds rent out and the engine runs on: each costs a whole search."""
_LARGEST_NODE = 8
_MOST_REPLICAS = 1000
_MOST_PER_REPLICA = 64
_SHORTEST_CONTEXT = 16
_DIGITS = 2
_SMALLER = ("FP8", "INT4")
"""Formats that checkpoints are published in beside their original one, the most exact first."""


@dataclass(frozen=True)
class Edge:
    """A change, the request after it, and what to tell people of it; `lacking` where the engine
    cannot run what would do."""

    request: PlanRequest
    alternative: Alternative
    lacking: bool


Change = tuple[str, PlanRequest]


def nearest_edges(market: Market) -> tuple[Edge, ...]:
    """For an infeasible market: along every axis the smallest change that makes it feasible."""
    axes = (
        _ttft,
        _tpot,
        _max_replicas,
        _nodes,
        _rate,
        _min_replicas,
        _cost,
        _context,
        _per_replica,
        _allow,
        _precision,
        _pins,
        _draft,
        _catalogue,
    )
    found = [edge for axis in axes if (edge := _first(axis(market))) is not None]
    found.sort(key=lambda edge: edge.lacking)
    if not any(edge.request.objectives != market.request.objectives for edge in found):
        both = _first(_both_latencies(market))
        found = [both, *found] if both else found
    return tuple(found)


def _first(changes: Iterator[Change]) -> Edge | None:
    for change, request in changes:
        bid = best_bid(search(request))
        if bid is not None and bid.feasible:
            return Edge(request, Alternative(change, _effect(bid)), bid.lack is not None)
    return None


def _effect(bid: Bid) -> str:
    cost = bid.cost_per_million_tokens
    money = "" if cost is None else f", {figure(cost)} per million output tokens"
    count = f"{bid.replicas} replica" + ("s" if bid.replicas > 1 else "")
    return (
        f"{count} of {bid.shape}, TTFT p95 {duration(bid.predicted.ttft_p95)}, "
        f"TPOT p95 {duration(bid.predicted.tpot_p95)}{money}"
        f"{'' if bid.lack is None else f'; but {bid.lack.value}'}"
    )


def _relaxed(market: Market, *, ttft: bool, tpot: bool) -> tuple[float, float] | None:
    """TTFT and TPOT that could be promised if the named promises were dropped; None if none."""
    promised = market.request.objectives
    dropped = replace(
        promised,
        ttft_p95=None if ttft else promised.ttft_p95,
        tpot_p95=None if tpot else promised.tpot_p95,
    )
    request = replace(market.request, objectives=dropped)
    demand = demand_of(request)
    reached = []
    for bid in search(request).bids:
        if bid.feasible:
            most = max(1, bid.bound)
            rate = request.workload.requests_per_second / most
            if limit_at(bid.option, demand, rate) is None:
                at = bid.option.latency(demand, rate)
                full = batch_tpot(bid.option, demand, at.running_p95)
                reached.append(
                    (at.ttft_p95 / (1 - HEADROOM), max(at.tpot_p95, full) / (1 - HEADROOM))
                )
    if not reached:
        return None
    if ttft and tpot:
        wanted_ttft, wanted_tpot = promised.ttft_p95 or 1.0, promised.tpot_p95 or 1.0
        return min(reached, key=lambda at: max(at[0] / wanted_ttft, at[1] / wanted_tpot))
    return min(reached, key=lambda at: at[0] if ttft else at[1])


def _stretched(
    least: tuple[float, float] | None,
) -> Iterator[tuple[float, float]]:
    """Ever looser pairs, since a promise also moves the batch and so what is reached."""
    if least is not None:
        for factor in (1.0, 1.1, 1.25, 1.5, 2.0):
            yield _writable(least[0] * factor), _writable(least[1] * factor)


def _ttft(market: Market) -> Iterator[Change]:
    promised = market.request.objectives
    if promised.ttft_p95 is None:
        return
    for value, _ in _stretched(_relaxed(market, ttft=True, tpot=False)):
        yield (
            f"slo.timeToFirstToken.p95: {duration(value)}",
            replace(market.request, objectives=replace(promised, ttft_p95=value)),
        )


def _tpot(market: Market) -> Iterator[Change]:
    promised = market.request.objectives
    if promised.tpot_p95 is None:
        return
    for _, value in _stretched(_relaxed(market, ttft=False, tpot=True)):
        yield (
            f"slo.timePerOutputToken.p95: {duration(value)}",
            replace(market.request, objectives=replace(promised, tpot_p95=value)),
        )


def _both_latencies(market: Market) -> Iterator[Change]:
    promised = market.request.objectives
    if promised.ttft_p95 is None or promised.tpot_p95 is None:
        return
    for pair in _stretched(_relaxed(market, ttft=True, tpot=True)):
        ttft, tpot = max(promised.ttft_p95, pair[0]), max(promised.tpot_p95, pair[1])
        yield (
            f"slo.timeToFirstToken.p95: {duration(ttft)} and "
            f"slo.timePerOutputToken.p95: {duration(tpot)}",
            replace(market.request, objectives=replace(promised, ttft_p95=ttft, tpot_p95=tpot)),
        )


def _max_replicas(market: Market) -> Iterator[Change]:
    request = market.request
    enough = sorted(
        {b.needed for b in market.bids if request.max_replicas < b.needed <= b.capacity}
    )
    for count in enough:
        yield f"scaling.maxReplicas: {count:.0f}", replace(request, max_replicas=int(count))


def _nodes(market: Market) -> Iterator[Change]:
    request = market.request
    tries = []
    for bid in market.bids:
        wanted = max(bid.needed, request.min_replicas)
        if bid.capacity < wanted <= _MOST_REPLICAS:
            pool = max(bid.product.pools, key=lambda p: (p.count, p.memory_bytes or 0))
            a_node = replace(bid.product, pools=(replace(pool, nodes=1),))
            fit = a_node.replicas(bid.shape, bid.option.memory.total)
            if fit:
                more = -(-(int(wanted) - bid.capacity) // fit)
                tries.append((more * pool.count, more, int(wanted), pool))
    for _, more, wanted, pool in sorted(tries, key=lambda item: item[:3])[:3]:
        replicas = max(request.max_replicas, wanted)
        nodes = "1 more node" if more == 1 else f"{more} more nodes"
        change = f"{nodes} with {pool.count}×{pool.accelerator}"
        if replicas > request.max_replicas:
            change += f" and scaling.maxReplicas: {replicas}"
        yield (
            change,
            replace(
                request,
                max_replicas=replicas,
                inventory=(*request.inventory, replace(pool, nodes=more)),
            ),
        )


def _rate(market: Market) -> Iterator[Change]:
    request = market.request
    rates = [
        bid.bound * bid.option.sustained for bid in market.bids if bid.bound >= request.min_replicas
    ]
    for factor in (1.0, 0.95) if rates else ():
        rate = round_down(max(rates) * factor, _DIGITS)
        if 0.001 <= rate < request.workload.requests_per_second:
            yield (
                f"workload.requestsPerSecond: {figure(rate)}",
                replace(request, workload=replace(request.workload, requests_per_second=rate)),
            )


def _min_replicas(market: Market) -> Iterator[Change]:
    most = max((bid.capacity for bid in market.bids), default=0)
    if 1 <= most < market.request.min_replicas:
        yield f"scaling.minReplicas: {most}", replace(market.request, min_replicas=most)


def _cost(market: Market) -> Iterator[Change]:
    promised = market.request.objectives
    if promised.max_cost_per_million_tokens is None:
        return
    free = replace(market.request, objectives=replace(promised, max_cost_per_million_tokens=None))
    costs = [
        bid.cost_per_million_tokens
        for bid in search(free).bids
        if bid.feasible and bid.cost_per_million_tokens is not None
    ]
    if costs:
        value = round_up(min(costs), _DIGITS + 1)
        yield (
            f"slo.maxCostPerMillionTokens: {figure(value)}",
            replace(
                market.request,
                objectives=replace(promised, max_cost_per_million_tokens=value),
            ),
        )


def _context(market: Market) -> Iterator[Change]:
    if not market.refusals:
        return
    workload = market.request.workload
    least = workload.prompt_tokens.mean + workload.output_tokens.mean
    length = 1 << (market.demand.max_model_len - 1).bit_length() - 1
    while length >= max(least, _SHORTEST_CONTEXT):
        yield (
            f"model.maxContextLength: {length}",
            replace(market.request, max_context_length=length),
        )
        length //= 2


def _per_replica(market: Market) -> Iterator[Change]:
    request = market.request
    whole = [pool for pool in request.inventory if not pool.shared and pool.accelerator != CPU]
    largest = max((pool.count * pool.nodes for pool in whole), default=0)
    cores = [pool.count for pool in request.inventory if pool.accelerator == CPU]
    largest = min(max(largest, *cores, 0), _MOST_PER_REPLICA)
    count = request.max_accelerators_per_replica
    while count < largest:
        count = min(2 * count, largest)
        yield (
            f"accelerators.maxPerReplica: {count}",
            replace(request, max_accelerators_per_replica=count),
        )


def _allow(market: Market) -> Iterator[Change]:
    request = market.request
    for label in market.disallowed:
        names = ", ".join((*request.allow, label))
        yield f"accelerators.allow: [{names}]", replace(request, allow=(*request.allow, label))


def _precision(market: Market) -> Iterator[Change]:
    request = market.request
    if "FP32" in (request.weights_precision, request.kv_cache_precision):
        for name in ("BF16", "Auto"):
            yield (
                f"precision.weights and precision.kvCache: {name}",
                replace(request, weights_precision=name, kv_cache_precision=name),
            )
    elif "BF16" in (request.weights_precision, request.kv_cache_precision):
        yield (
            "precision.weights and precision.kvCache: Auto",
            replace(request, weights_precision="Auto", kv_cache_precision="Auto"),
        )
    if request.weights_precision in (AUTO, *UNQUANTIZED) and (
        request.model.checkpoint.name in UNQUANTIZED
    ):
        for name in _SMALLER:
            yield (
                f"precision.weights: {name}",
                replace(request, weights_precision=name, kv_cache_precision=AUTO),
            )


def _pins(market: Market) -> Iterator[Change]:
    pin = market.request.pin
    for field, name in (
        ("tensor_parallel_size", "tensorParallelSize"),
        ("pipeline_parallel_size", "pipelineParallelSize"),
        ("max_num_seqs", "maxNumSeqs"),
        ("max_num_batched_tokens", "maxNumBatchedTokens"),
        ("kv_cache_bytes", "kvCacheMemory"),
    ):
        if getattr(pin, field) is not None:
            yield (
                f"remove pin.{name}",
                replace(market.request, pin=replace(pin, **{field: None})),
            )


def _draft(market: Market) -> Iterator[Change]:
    if market.request.draft is not None:
        yield "speculation.method: Disabled", replace(market.request, draft=None)


def _catalogue(market: Market) -> Iterator[Change]:
    """Nodes with the weakest product that the cluster lacks and that would do."""
    request = market.request
    if request.objectives.max_cost_per_million_tokens is not None:
        return
    present = [pool.accelerator for pool in request.inventory if not pool.shared]
    lacking = [
        item
        for item in CATALOGUE
        if item.name in _SUGGESTED and not any(same_product(item.name, label) for label in present)
    ]
    for item in sorted(lacking, key=lambda a: (a.bandwidth, a.name)):
        plenty = AcceleratorPool(item.name, _LARGEST_NODE, max(1, request.max_replicas))
        bid = best_bid(search(replace(request, inventory=(plenty,), allow=())))
        if bid is None or not bid.feasible:
            continue
        size = bid.shape.tensor_parallel_size
        count = bid.replicas * bid.shape.pipeline_parallel_size
        pool = AcceleratorPool(item.name, size, count)
        allow = (*request.allow, item.name) if request.allow else ()
        nodes = f"{count} node{'s' if count > 1 else ''}"
        added = f" and accelerators.allow: [{', '.join(allow)}]" if allow else ""
        yield (
            f"{nodes} with {size}×{item.name}{added}",
            replace(request, inventory=(*request.inventory, pool), allow=allow),
        )


def _writable(seconds: float) -> float:
    """Rounded up to what a duration of two digits says."""
    return max(1e-4, round_up(seconds, _DIGITS))

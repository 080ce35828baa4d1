"""The nearest feasible points: one change each, proved by searching again with it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from plimsoll_planner.accelerators import CATALOGUE, CPU, same_product
from plimsoll_planner.inputs import AcceleratorPool, PlanRequest
from plimsoll_planner.model_facts import INT8
from plimsoll_planner.precision import AUTO, UNQUANTIZED
from plimsoll_planner.result import Alternative
from plimsoll_planner.search import promises
from plimsoll_planner.search.infeasible_request import Change, Scene
from plimsoll_planner.search.search import Bid
from plimsoll_planner.text import duration, figure

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
_TRIES = 5
"""Numbers of replicas and of nodes that are tried, the smallest first."""
_SMALLER = ("FP8", "INT4")
"""Formats that checkpoints are published in beside their original one, the most exact first."""
_SMALLER_ON_CPU = (INT8,)
"""Formats that the engine itself makes of a checkpoint on loading."""


@dataclass(frozen=True)
class Edge:
    """A change, the request after it, and what to tell people of it; `lacking` where the engine
    cannot run what would do."""

    request: PlanRequest
    alternative: Alternative
    lacking: bool


def nearest_edges(scene: Scene) -> tuple[Edge, ...]:
    """Along every axis the smallest change that makes the request feasible, tried as a plan is."""
    axes = (
        promises.ttft_p95,
        promises.tpot_p95,
        _max_replicas,
        _nodes,
        promises.rate,
        _min_replicas,
        promises.cost,
        _context,
        _per_replica,
        _allow,
        _precision,
        _pins,
        _draft,
        _catalogue,
    )
    found = [edge for axis in axes if (edge := _first(scene, axis)) is not None]
    found.sort(key=lambda edge: edge.lacking)
    objectives = scene.market.request.objectives
    if not any(edge.request.objectives != objectives for edge in found):
        both = _first(scene, promises.both_latencies)
        found = [both, *found] if both else found
    return tuple(found)


def _first(scene: Scene, axis: Callable[[Scene], Iterator[Change]]) -> Edge | None:
    for change, request in axis(scene):
        bid = scene.best(request)
        if bid is not None:
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


def _max_replicas(scene: Scene) -> Iterator[Change]:
    request = scene.market.request
    enough = sorted(
        {
            count
            for bid in scene.bids
            for count in scene.counts(bid.needed)
            if request.max_replicas < count <= bid.capacity
        }
    )
    for count in enough[:_TRIES]:
        yield f"scaling.maxReplicas: {count}", replace(request, max_replicas=count)


def _nodes(scene: Scene) -> Iterator[Change]:
    request = scene.market.request
    tries = []
    for bid in scene.bids:
        pool = max(bid.product.pools, key=lambda p: (p.count, p.memory_bytes or 0))
        a_node = replace(bid.product, pools=(replace(pool, nodes=1),))
        fit = a_node.replicas(bid.shape, bid.option.memory.total)
        for wanted in scene.counts(max(bid.needed, request.min_replicas)) if fit else ():
            if bid.capacity < wanted <= _MOST_REPLICAS:
                more = -(-(wanted - bid.capacity) // fit)
                tries.append((more * pool.count, more, wanted, pool))
    tries.sort(key=lambda item: item[:3])
    for _, more, wanted, pool in list(dict.fromkeys(tries))[:_TRIES]:
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


def _min_replicas(scene: Scene) -> Iterator[Change]:
    most = max((bid.capacity for bid in scene.bids), default=0)
    if 1 <= most < scene.market.request.min_replicas:
        yield f"scaling.minReplicas: {most}", replace(scene.market.request, min_replicas=most)


def _context(scene: Scene) -> Iterator[Change]:
    if not scene.market.refusals:
        return
    workload = scene.market.request.workload
    least = workload.prompt_tokens.mean + workload.output_tokens.mean
    length = 1 << (scene.market.demand.max_model_len - 1).bit_length() - 1
    while length >= max(least, _SHORTEST_CONTEXT):
        yield (
            f"model.maxContextLength: {length}",
            replace(scene.market.request, max_context_length=length),
        )
        length //= 2


def _per_replica(scene: Scene) -> Iterator[Change]:
    request = scene.market.request
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


def _allow(scene: Scene) -> Iterator[Change]:
    request = scene.market.request
    for label in scene.market.disallowed:
        names = ", ".join((*request.allow, label))
        yield f"accelerators.allow: [{names}]", replace(request, allow=(*request.allow, label))


def _precision(scene: Scene) -> Iterator[Change]:
    request = scene.market.request
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
        on_cpu = any(pool.accelerator == CPU for pool in request.inventory)
        for name in (*_SMALLER_ON_CPU, *_SMALLER) if on_cpu else _SMALLER:
            yield (
                f"precision.weights: {name}",
                replace(
                    request,
                    weights_precision=name,
                    kv_cache_precision=INT8 if request.kv_cache_precision == name else AUTO,
                ),
            )


def _pins(scene: Scene) -> Iterator[Change]:
    pin = scene.market.request.pin
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
                replace(scene.market.request, pin=replace(pin, **{field: None})),
            )


def _draft(scene: Scene) -> Iterator[Change]:
    if scene.market.request.draft is not None:
        yield "speculation.method: Disabled", replace(scene.market.request, draft=None)


def _catalogue(scene: Scene) -> Iterator[Change]:
    """Nodes with the weakest product that the cluster lacks and that would do."""
    request = scene.market.request
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
        bid = scene.best(replace(request, inventory=(plenty,), allow=()))
        if bid is None:
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

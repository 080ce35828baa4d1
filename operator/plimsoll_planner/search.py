"""Every way to meet a request with an inventory, judged."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from plimsoll_planner.accelerators import CPU
from plimsoll_planner.drafting import Drafter
from plimsoll_planner.inputs import Objectives, PlanRequest
from plimsoll_planner.latency import OVERLOADED, Latency
from plimsoll_planner.model_facts import ModelFacts, model_facts
from plimsoll_planner.options import (
    HEADROOM,
    Demand,
    DoesNotFitError,
    Limit,
    Option,
    limit_at,
    options,
    sustained_rate,
)
from plimsoll_planner.products import Product, offer
from plimsoll_planner.shape import Shape
from plimsoll_planner.traffic import Traffic

CPU_CORES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
AUTO = "Auto"
_ALMOST = 1e-9


class Broken(Enum):
    """Why a bid does not do, the gravest first."""

    LATENCY = "no rate keeps the latency"
    ROOM = "the nodes do not hold the replicas"
    RATE = "maxReplicas do not serve the rate"
    PRICE = "the price is unknown"
    COST = "it costs too much"


@dataclass(frozen=True)
class Bid:
    """An option with its replicas. `limit` is what the declared load breaks, None if nothing.

    `replicas` is what the load needs within `bound`, the most that maxReplicas and the nodes
    allow; `needed` what it would need without them, infinite where no number helps. `predicted`
    holds at `rate`, each replica's share of the load, or, if that overloads it, at what it can
    take. The costs are None where a price is unknown. `shortage` says how many times too little
    an infeasible bid is.
    """

    product: Product
    option: Option
    replicas: int
    needed: float
    bound: int
    capacity: int
    limit: Limit | None
    rate: float
    predicted: Latency
    cost_per_hour: float | None
    cost_per_million_tokens: float | None
    broken: Broken | None
    shortage: float

    @property
    def feasible(self) -> bool:
        """Whether every promise holds with what there is."""
        return self.broken is None

    @property
    def shape(self) -> Shape:
        """Of each replica."""
        return self.option.shape

    @property
    def capability(self) -> float:
        """All memory bandwidth taken, in bytes/s: stands in for the cost where prices lack."""
        return self.shape.accelerators * self.replicas * self.shape.accelerator.bandwidth


@dataclass(frozen=True)
class Refusal:
    """A shape that cannot be used at all."""

    shape: Shape
    reason: str
    shortfall: float


@dataclass(frozen=True)
class Market:
    """All that was considered for a request."""

    request: PlanRequest
    demand: Demand
    bids: tuple[Bid, ...]
    refusals: tuple[Refusal, ...]
    disallowed: tuple[str, ...]
    unknown: tuple[str, ...]


def demand_of(request: PlanRequest) -> Demand:
    """What the request asks of every option."""
    own = request.model.max_position_embeddings
    length = min(own, request.max_context_length or own)
    return Demand(
        facts=model_facts(request.model),
        traffic=Traffic.of(request.workload, length),
        objectives=request.objectives,
        max_model_len=length,
        pin=request.pin,
        draft=Drafter.of(request.draft),
    )


def search(request: PlanRequest) -> Market:
    """Judges every shape that the inventory offers, with every token budget."""
    demand = demand_of(request)
    offered = offer(request)
    bids: list[Bid] = []
    refusals = [_shared(product) for product in offered.shared]
    for product in offered.products:
        shapes = list(_shapes(request, demand.facts, product))
        if not shapes:
            refusals.append(_unusable(request, demand.facts, product))
        for shape in shapes:
            try:
                found = options(demand, shape, product.memory_bytes(shape))
            except DoesNotFitError as error:
                refusals.append(Refusal(shape, str(error), error.shortfall))
                continue
            bids.extend(_bid(request, demand, product, option) for option in found)
    return Market(
        request, demand, tuple(bids), tuple(refusals), offered.disallowed, offered.unknown
    )


def ranking(bids: tuple[Bid, ...]) -> list[Bid]:
    """Feasible ones first, cheapest first; then the infeasible ones, nearest first.

    Cheapest by price where every feasible bid has one, else by the memory bandwidth taken, since
    that is what serving is bound by and what prices of accelerators follow. What no further replica
    of a node can use counts as taken: 5 of 8 GPUs are no cheaper than all of them.
    """
    priced = all(bid.cost_per_hour is not None for bid in bids if bid.feasible)

    def key(bid: Bid) -> tuple[object, ...]:
        money = bid.cost_per_hour if priced and bid.cost_per_hour is not None else bid.capability
        shape = bid.shape
        money *= bid.product.occupied(shape) / shape.accelerators
        nearness = 0.0 if bid.feasible else round(bid.shortage, 6)
        return (
            not bid.feasible,
            nearness,
            money,
            shape.accelerators * bid.replicas,
            shape.label,
            shape.accelerators,
            shape.weights,
            -bid.option.sustained,
            bid.predicted.ttft_p95,
            bid.option.engine.max_num_batched_tokens,
        )

    return sorted(bids, key=key)


def best_bid(market: Market) -> Bid | None:
    """The cheapest feasible bid, else the nearest; None where nothing fits."""
    ranked = ranking(market.bids)
    return ranked[0] if ranked else None


def _shapes(request: PlanRequest, facts: ModelFacts, product: Product) -> Iterator[Shape]:
    most = min(product.most_per_replica, request.max_accelerators_per_replica)
    pinned = request.pin.tensor_parallel_size
    precision = _precision(request, product)
    if precision is None:
        return
    if product.accelerator.name == CPU:
        # Ranks on the same cores gain nothing, so that only a pin makes them.
        if facts.divides_into(pinned or 1):
            for cores in CPU_CORES:
                if cores <= most:
                    yield Shape(
                        product.accelerator,
                        product.label,
                        precision,
                        precision,
                        pinned or 1,
                        cores,
                    )
        return
    for size in range(1, most + 1):
        if facts.divides_into(size) and pinned in (None, size):
            yield Shape(product.accelerator, product.label, precision, precision, size)


def _precision(request: PlanRequest, product: Product) -> str | None:
    """The format of weights and KV cache alike, as the engine has one for both; None where it is
    not computed in, or where two are asked for.

    Auto takes the other's format, or what the accelerator computes best in.
    """
    asked = _asked(request)
    if not asked:
        return product.accelerator.precisions[0]
    return asked[0] if len(asked) == 1 and asked[0] in product.accelerator.precisions else None


def _asked(request: PlanRequest) -> tuple[str, ...]:
    """The distinct formats that the request names, of the weights first."""
    named = dict.fromkeys((request.weights_precision, request.kv_cache_precision))
    return tuple(name for name in named if name != AUTO)


def _shared(product: Product) -> Refusal:
    precision = product.accelerator.precisions[0]
    return Refusal(
        Shape(product.accelerator, product.label, precision, precision, 1),
        f"{product.label}: its nodes share each GPU among several pods, and a replica needs whole "
        "ones: turn sharing off in the configuration of the nodes' device plugin",
        math.inf,
    )


def _unusable(request: PlanRequest, facts: ModelFacts, product: Product) -> Refusal:
    asked = _asked(request)
    size = request.pin.tensor_parallel_size or 1
    computed = product.accelerator.precisions
    shape = Shape(product.accelerator, product.label, computed[0], computed[0], size)
    if len(asked) > 1:
        reason = (
            f"precision.kvCache {request.kv_cache_precision} with precision.weights "
            f"{request.weights_precision}: the engine keeps its KV cache in the format of the "
            "weights, so give both the same, or one of them Auto"
        )
    elif asked and asked[0] not in computed:
        reason = f"{product.label} does not compute in {asked[0]}: use {' or '.join(computed)}"
    elif not facts.divides_into(size):
        reason = (
            f"pin.tensorParallelSize {size} does not divide {facts.attention_heads} attention "
            f"heads, {facts.kv_heads} KV heads and {facts.intermediate_size} MLP columns"
        )
    elif product.most_per_replica < product.most_per_node:
        reason = (
            f"pin.tensorParallelSize {size}: {product.label} is a part of a GPU, which cannot work "
            "together with others: pin 1"
        )
    else:
        reason = (
            f"pin.tensorParallelSize {size}: a node with {product.label} has at most "
            f"{product.most_per_node}"
        )
    return Refusal(shape, reason, math.inf)


def _bid(request: PlanRequest, demand: Demand, product: Product, option: Option) -> Bid:
    load = request.workload.requests_per_second
    capacity = product.replicas(option.shape, option.memory.total)
    bound = min(request.max_replicas, capacity)
    needed = math.ceil(load / option.sustained - _ALMOST) if option.sustained else math.inf
    replicas = int(max(1, min(max(needed, request.min_replicas), bound)))
    rate = load / replicas
    limit = None if needed <= replicas else limit_at(option, demand, rate)
    predicted = option.latency(demand, rate)
    if predicted is OVERLOADED:
        rate = _highest(option, demand)
        predicted = option.latency(demand, rate)
    price = product.price_per_hour
    per_hour = None if price is None else price * option.shape.accelerators * replicas
    tokens_per_hour = load * request.workload.output_tokens.mean * 3600
    per_million = None if per_hour is None else per_hour / tokens_per_hour * 1e6
    bid = Bid(
        product=product,
        option=option,
        replicas=replicas,
        needed=needed,
        bound=bound,
        capacity=capacity,
        limit=limit,
        rate=rate,
        predicted=predicted,
        cost_per_hour=per_hour,
        cost_per_million_tokens=per_million,
        broken=None,
        shortage=0.0,
    )
    broken, shortage = _broken(request, demand, bid)
    return replace(bid, broken=broken, shortage=shortage)


def _broken(request: PlanRequest, demand: Demand, bid: Bid) -> tuple[Broken | None, float]:
    """What breaks and by what factor; latency that no rate keeps weighs most."""
    if math.isinf(bid.needed):
        return Broken.LATENCY, 1000 * _latency_shortage(demand, bid)
    wanted = max(bid.needed, request.min_replicas)
    if wanted > bid.bound:
        from_nodes = bid.capacity < wanted <= request.max_replicas
        return Broken.ROOM if from_nodes else Broken.RATE, wanted / max(0.5, bid.bound)
    highest, cost = request.objectives.max_cost_per_million_tokens, bid.cost_per_million_tokens
    if highest is None or (cost is not None and cost <= highest):
        return None, 0.0
    return (Broken.PRICE, 1.0) if cost is None else (Broken.COST, cost / highest)


def _latency_shortage(demand: Demand, bid: Bid) -> float:
    """How many times too slow the option is even for hardly any load; at least 1."""
    promised = demand.objectives
    idle = idle_latency(bid.option, demand)
    ratios = [1.0]
    if promised.ttft_p95:
        ratios.append(idle.ttft_p95 / promised.ttft_p95 / (1 - HEADROOM))
    if promised.tpot_p95:
        ratios.append(idle.tpot_p95 / promised.tpot_p95 / (1 - HEADROOM))
    return max(ratios)


def idle_latency(option: Option, demand: Demand) -> Latency:
    """Latency where a request hardly ever meets another."""
    return option.latency(demand, _highest(option, demand) * 1e-3)


def _highest(option: Option, demand: Demand) -> float:
    """The highest rate that does not overload the option, whatever its latency."""
    unpromised = replace(demand, objectives=Objectives())
    found = sustained_rate(option.engine, option.memory, unpromised)
    alone = demand.traffic.output * option.engine.step.decode(1, demand.traffic.context)
    return found or 1e-4 / alone

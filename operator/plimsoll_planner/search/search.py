"""Every way to meet a request with an inventory, judged."""

import math
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import chain

from plimsoll_planner.drafting import Drafter
from plimsoll_planner.inputs import Pin, PlanRequest
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.performance.latency import OVERLOADED, Latency
from plimsoll_planner.performance.traffic import Traffic
from plimsoll_planner.precision import PrecisionError, precision
from plimsoll_planner.search.memo import Remembered
from plimsoll_planner.search.options import (
    HEADROOM,
    Demand,
    DoesNotFitError,
    Limit,
    Option,
    limit_at,
)
from plimsoll_planner.search.partial_trial import Attempt, Measured
from plimsoll_planner.search.products import Product, offer
from plimsoll_planner.search.shape import Shape
from plimsoll_planner.search.shapes import shapes, staged_shapes, why_none
from plimsoll_planner.support import Lack, Needs

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
    an infeasible bid is. `lack` is what the engine has not and would need, None if nothing.

    Where it was simulated, `measured` is what that showed at `rate`, and so are the percentiles of
    `predicted`; `refuted` is the simulation at the lowest rate that broke a promise.
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
    lack: Lack | None = None
    measured: Measured | None = None
    refuted: Attempt | None = None

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
    remembered: Remembered = field(default_factory=Remembered, repr=False, compare=False)


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
        reserves=request.reserves,
    )


def search(request: PlanRequest, known: Remembered | None = None) -> Market:
    """Judges every shape that the inventory offers, with every token budget; `known` is what was
    found by earlier searches for the same model."""
    demand, remembered = demand_of(request), known or Remembered()
    offered = offer(request)
    bids: list[Bid] = []
    refusals = [_shared(request, product) for product in offered.shared]
    refusals += [_foreign(request, product) for product in offered.foreign]
    for product in offered.products:
        found, refused = _judged(request, demand, product, remembered)
        bids += found
        refusals += refused
    return Market(
        request,
        demand,
        tuple(bids),
        tuple(refusals),
        offered.disallowed,
        offered.unknown,
        remembered,
    )


def ranking(bids: tuple[Bid, ...]) -> list[Bid]:
    """Feasible ones first, cheapest first; then the infeasible ones, nearest first. In both, those
    that the engine can run go before those that it cannot.

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
            bid.lack is not None,
            nearness,
            money,
            shape.accelerators * bid.replicas,
            shape.label,
            shape.accelerators,
            shape.weights,
            -bid.option.sustained,
            bid.predicted.ttft_p95,
            shape.expert_parallel,
            bid.option.engine.max_num_batched_tokens,
        )

    return sorted(bids, key=key)


def best_bid(market: Market) -> Bid | None:
    """The cheapest feasible bid, else the nearest; None where nothing fits."""
    ranked = ranking(market.bids)
    return ranked[0] if ranked else None


def _judged(
    request: PlanRequest, demand: Demand, product: Product, remembered: Remembered
) -> tuple[list[Bid], list[Refusal]]:
    """Replicas within one node; only where none holds the model, over several."""
    accelerator = product.accelerator
    try:
        formats = precision(request, accelerator, product.label)
    except PrecisionError as error:
        return [], [_refusal(request, product, str(error))]
    bids: list[Bid] = []
    refusals: list[Refusal] = []
    within = list(shapes(request, demand.facts, product, formats))
    if not within:
        return [], [_refusal(request, product, why_none(request, demand.facts, product))]
    stages = within[-1].pipeline_parallel_size
    for shape in chain(within, staged_shapes(request, demand.facts, product, formats)):
        if bids and shape.pipeline_parallel_size > stages:
            break
        stages = shape.pipeline_parallel_size
        try:
            found = remembered.options(demand, shape, product.memory_bytes(shape))
        except DoesNotFitError as error:
            if not shape.expert_parallel:
                refusals.append(Refusal(shape, str(error), error.shortfall))
            continue
        bids += [_bid(request, demand, product, option, remembered) for option in found]
    return bids, refusals


def _refusal(request: PlanRequest, product: Product, reason: str) -> Refusal:
    """Of a product as a whole, whatever the shape."""
    computed = product.accelerator.precisions[0]
    size = request.pin.tensor_parallel_size or 1
    shape = Shape(product.accelerator, product.label, computed, computed, size)
    return Refusal(shape, reason, math.inf)


def _shared(request: PlanRequest, product: Product) -> Refusal:
    return _refusal(
        replace(request, pin=Pin()),
        product,
        f"{product.label}: its nodes share each GPU among several pods, and a replica needs whole "
        "ones: turn sharing off in the configuration of the nodes' device plugin",
    )


def _foreign(request: PlanRequest, product: Product) -> Refusal:
    return _refusal(
        replace(request, pin=Pin()),
        product,
        f"{product.label} ({product.accelerator.resource}): {Lack.HARDWARE.value}, and there are "
        "GPUs that it runs on: name it in accelerators.allow to plan for it all the same",
    )


def _lack(request: PlanRequest, shape: Shape) -> Lack | None:
    if request.engine is None:
        return None
    return request.engine.lack(
        Needs(
            shape.accelerator.resource,
            shape.weights,
            shape.kv_cache,
            shape.tensor_parallel_size,
            shape.pipeline_parallel_size,
            shape.expert_parallel,
        )
    )


def bid_for(market: Market, bid: Bid, sustained: float) -> Bid:
    """The bid if its replicas sustain another rate."""
    option = replace(bid.option, sustained=sustained)
    found = _bid(market.request, market.demand, bid.product, option, market.remembered)
    return replace(found, refuted=bid.refuted)


def _bid(
    request: PlanRequest,
    demand: Demand,
    product: Product,
    option: Option,
    remembered: Remembered,
) -> Bid:
    load = request.workload.requests_per_second
    capacity = product.replicas(option.shape, option.memory.total)
    bound = min(request.max_replicas, capacity)
    needed = math.ceil(load / option.sustained - _ALMOST) if option.sustained else math.inf
    replicas = int(max(1, min(max(needed, request.min_replicas), bound)))
    rate = load / replicas
    limit = None if needed <= replicas else limit_at(option, demand, rate)
    predicted = option.latency(demand, rate)
    if predicted is OVERLOADED:
        rate = remembered.highest(option, demand)
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
        lack=_lack(request, option.shape),
    )
    broken, shortage = _broken(request, demand, bid, remembered)
    return replace(bid, broken=broken, shortage=shortage)


def _broken(
    request: PlanRequest, demand: Demand, bid: Bid, remembered: Remembered
) -> tuple[Broken | None, float]:
    """What breaks and by what factor; latency that no rate keeps weighs most."""
    if math.isinf(bid.needed):
        return Broken.LATENCY, 1000 * _latency_shortage(demand, bid, remembered)
    wanted = max(bid.needed, request.min_replicas)
    if wanted > bid.bound:
        from_nodes = bid.capacity < wanted <= request.max_replicas
        return Broken.ROOM if from_nodes else Broken.RATE, wanted / max(0.5, bid.bound)
    highest, cost = request.objectives.max_cost_per_million_tokens, bid.cost_per_million_tokens
    if highest is None or (cost is not None and cost <= highest):
        return None, 0.0
    return (Broken.PRICE, 1.0) if cost is None else (Broken.COST, cost / highest)


def _latency_shortage(demand: Demand, bid: Bid, remembered: Remembered) -> float:
    """How many times too slow the option is even for hardly any load; at least 1."""
    promised = demand.objectives
    idle = idle_latency(bid.option, demand, remembered)
    ratios = [1.0]
    if promised.ttft_p95:
        ratios.append(idle.ttft_p95 / promised.ttft_p95 / (1 - HEADROOM))
    if promised.tpot_p95:
        ratios.append(idle.tpot_p95 / promised.tpot_p95 / (1 - HEADROOM))
    return max(ratios)


def idle_latency(option: Option, demand: Demand, remembered: Remembered) -> Latency:
    """Latency where a request hardly ever meets another."""
    return option.latency(demand, remembered.highest(option, demand) * 1e-3)

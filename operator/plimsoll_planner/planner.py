"""`plan`: the cheapest way to keep a promise with an inventory, or what stands in the way."""

from plimsoll_planner.cost import cost_of
from plimsoll_planner.explain import what_is_missing, why_it_lost, why_not_cheaper, why_not_taken
from plimsoll_planner.inputs import PlanRequest, Workload
from plimsoll_planner.precision import UNQUANTIZED
from plimsoll_planner.result import (
    Alternative,
    Candidate,
    Figures,
    Plan,
    PlannedTrace,
    PlanResult,
    Prediction,
    Simulated,
)
from plimsoll_planner.search.alternatives import nearest_edges
from plimsoll_planner.search.finalists import finals
from plimsoll_planner.search.infeasible_request import Scene
from plimsoll_planner.search.partial_trial import Measured
from plimsoll_planner.search.search import Bid, Broken, Market, Refusal, search
from plimsoll_planner.search.shape import Shape
from plimsoll_planner.search.trial import SEED, Trials
from plimsoll_planner.text import round_up
from plimsoll_planner.uncertainty import uncertainty


def plan(request: PlanRequest, trial_requests: int = 0) -> PlanResult:
    """Sizes the request. Pure: equal requests give equal results.

    Finalists are simulated with `trial_requests` each, `trial.REQUESTS` to be sure of the result;
    0 leaves it at the closed formulas, which take milliseconds and err near the limit. Raises
    ValueError for a request that makes no sense.

    Searches accelerator, tensor, pipeline and expert parallelism (cores on `cpu`), token budget,
    running sequences and replicas, in the formats of `precision`; keeps what is pinned;
    leaves `options.HEADROOM` of every latency.
    """
    most = request.max_accelerators_per_replica
    if most < 1:
        raise ValueError(f"max_accelerators_per_replica is {most}: it must be at least 1")
    market = search(request)
    trials = Trials(trial_requests)
    ranked = finals(market, trials)
    feasible = bool(ranked) and ranked[0].feasible
    if feasible:
        binding = why_not_cheaper(market, ranked)
        edges: tuple[Alternative, ...] = ()
    else:
        binding = what_is_missing(market, ranked)
        edges = tuple(
            edge.alternative for edge in nearest_edges(Scene(market, tuple(ranked), trials))
        )
    return PlanResult(
        feasible=feasible,
        plan=_plan(market, ranked[0], binding) if ranked else None,
        binding_constraint=binding,
        alternatives=edges,
        candidates=(
            *(_candidate(market, bid, ranked[0]) for bid in _best_of_each_shape(ranked)),
            *(_refused(refusal) for refusal in market.refusals),
        ),
        too_dear=not feasible and any(b.broken in (Broken.PRICE, Broken.COST) for b in ranked),
    )


def _plan(market: Market, bid: Bid, binding: str) -> Plan:
    shape, engine, memory = bid.shape, bid.option.engine, bid.option.memory
    cost = bid.cost_per_million_tokens
    sure, seen = uncertainty(shape.accelerator), bid.measured
    if seen is not None:
        sure = sure.beside(seen.ttft_error, seen.tpot_error)
    return Plan(
        accelerator=shape.label,
        cpu_cores=shape.cpu_cores,
        tensor_parallel_size=shape.tensor_parallel_size,
        pipeline_parallel_size=shape.pipeline_parallel_size,
        weights_precision=shape.weights,
        kv_cache_precision=shape.kv_cache,
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        max_model_len=market.demand.max_model_len,
        kv_cache_bytes=memory.kv_cache,
        kv_cache_tokens=memory.kv_cache_tokens,
        memory_bytes=memory.total * shape.ranks_in_memory,
        replicas=bid.replicas,
        predicted=Prediction(
            ttft_p95=round_up(bid.predicted.ttft_p95),
            tpot_p95=round_up(bid.predicted.tpot_p95),
            requests_per_second_per_replica=bid.option.sustained,
            cost_per_million_tokens=None if cost is None else round_up(cost),
            ttft_p95_range=sure.ttft.of(bid.predicted.ttft_p95),
            tpot_p95_range=sure.tpot.of(bid.predicted.tpot_p95),
            simulated=None if seen is None else _simulated(seen),
        ),
        binding_constraint=binding,
        resource=shape.accelerator.resource,
        expert_parallel=shape.expert_parallel,
        cost=cost_of(market, bid),
        trace=_trace(market.request.workload),
        published=shape.weights not in UNQUANTIZED
        and shape.weights == market.request.model.checkpoint.name,
    )


def _trace(workload: Workload) -> PlannedTrace | None:
    trace = workload.trace
    if trace is None:
        return None
    return PlannedTrace(
        trace.digest,
        len(trace.arrivals),
        trace.arrivals[-1].at - trace.arrivals[0].at,
        workload.requests_per_second,
        workload.prompt_tokens.mean,
        workload.output_tokens.mean,
    )


def _simulated(seen: Measured) -> Simulated:
    return Simulated(
        seen.requests,
        SEED,
        seen.rate,
        round_up(seen.ttft_p50),
        round_up(seen.tpot_p50),
        round_up(seen.queue_p95),
    )


def _best_of_each_shape(ranked: list[Bid]) -> list[Bid]:
    first: dict[str, Bid] = {}
    for bid in ranked:
        first.setdefault(str(bid.shape), bid)
    return list(first.values())


def _candidate(market: Market, bid: Bid, winner: Bid) -> Candidate:
    if bid.feasible:
        reason = "" if bid is winner else why_not_taken(bid, winner)
    else:
        reason = why_it_lost(market, bid)
    figures = Figures(
        replicas=bid.replicas,
        max_num_seqs=bid.option.engine.max_num_seqs,
        max_num_batched_tokens=bid.option.engine.max_num_batched_tokens,
        ttft_p95=round_up(bid.predicted.ttft_p95),
        tpot_p95=round_up(bid.predicted.tpot_p95),
        requests_per_second_per_replica=bid.option.sustained,
        cost_per_hour=bid.cost_per_hour,
    )
    return _of_shape(bid.shape, reason, figures)


def _refused(refusal: Refusal) -> Candidate:
    return _of_shape(refusal.shape, refusal.reason)


def _of_shape(shape: Shape, reason: str, figures: Figures | None = None) -> Candidate:
    name = str(shape) if shape.is_cpu else shape.label
    return Candidate(
        name,
        shape.tensor_parallel_size,
        shape.weights,
        reason,
        figures,
        shape.pipeline_parallel_size,
        shape.expert_parallel,
    )

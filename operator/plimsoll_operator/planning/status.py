"""From what the planner answers to `status.plan` and `status.feasibility`."""

import hashlib
import json

from plimsoll_operator.api.planned_trace import PlannedTrace
from plimsoll_operator.api.quantity import format_duration
from plimsoll_operator.api.status import (
    Alternative,
    Feasibility,
    PercentileValue,
    PlanPrecision,
    PlanStatus,
    Predicted,
    SimulatedTraffic,
)
from plimsoll_operator.extended_resources import GPU
from plimsoll_planner import result as results
from plimsoll_planner.accelerators import CPU
from plimsoll_planner.result import Plan, PlanResult
from plimsoll_planner.text import figure


def plan_status(result: PlanResult) -> PlanStatus | None:
    """`status.plan`: the plan in force, or the nearest one; None when not even the model fits."""
    plan = result.plan
    if plan is None:
        return None
    return PlanStatus(
        summary=summary(plan),
        revision=revision(plan),
        accelerator=plan.accelerator,
        resource_name=None if plan.resource in (GPU, CPU) else plan.resource,
        cpu_cores=None if plan.cpu_cores is None else decimal_string(plan.cpu_cores),
        tensor_parallel_size=plan.tensor_parallel_size,
        pipeline_parallel_size=plan.pipeline_parallel_size,
        precision=PlanPrecision(
            weights=plan.weights_precision,
            kv_cache=plan.kv_cache_precision,
            published=plan.published or None,
        ),
        max_num_seqs=plan.max_num_seqs,
        max_num_batched_tokens=plan.max_num_batched_tokens,
        max_model_len=plan.max_model_len,
        kv_cache_bytes=plan.kv_cache_bytes,
        kv_cache_tokens=plan.kv_cache_tokens,
        memory_bytes=plan.memory_bytes,
        replicas=plan.replicas,
        predicted=_predicted(plan),
        binding_constraint=plan.binding_constraint,
        expert_parallel=plan.expert_parallel or None,
        trace=None if plan.trace is None else _trace(plan.trace),
    )


def feasibility(result: PlanResult) -> Feasibility | None:
    """`status.feasibility`: why the promise cannot hold; None when it can."""
    if result.feasible:
        return None
    return Feasibility(
        binding_constraint=result.binding_constraint,
        alternatives=[
            Alternative(change=item.change, effect=item.effect) for item in result.alternatives
        ],
    )


def summary(plan: Plan) -> str:
    """`H200×2 bs64` for two accelerators a replica, `H200×8×2 bs64` for eight on each of two nodes,
    `cpu×0.5 bs8` for half a core."""
    if plan.cpu_cores is not None:
        return f"cpu×{decimal_string(plan.cpu_cores)} bs{plan.max_num_seqs}"
    name = plan.accelerator
    for prefix in ("NVIDIA-", "Tesla-", "AMD_Instinct_"):
        name = name.removeprefix(prefix)
    stages = f"×{plan.pipeline_parallel_size}" if plan.pipeline_parallel_size > 1 else ""
    return f"{name}×{plan.tensor_parallel_size}{stages} bs{plan.max_num_seqs}"


def revision(plan: Plan) -> str:
    """Ten hexadecimal digits over what the engine and its pod are started with.

    Replicas and predictions are left out: scaling or a refitted model restarts no pod.
    """
    facts: dict[str, object] = {
        "accelerator": plan.accelerator,
        "cpuCores": None if plan.cpu_cores is None else decimal_string(plan.cpu_cores),
        "tensorParallelSize": plan.tensor_parallel_size,
        "pipelineParallelSize": plan.pipeline_parallel_size,
        "weights": plan.weights_precision,
        "kvCache": plan.kv_cache_precision,
        "maxNumSeqs": plan.max_num_seqs,
        "maxNumBatchedTokens": plan.max_num_batched_tokens,
        "maxModelLen": plan.max_model_len,
        "kvCacheBytes": plan.kv_cache_bytes,
        "memoryBytes": plan.memory_bytes,
    }
    if plan.resource not in (GPU, CPU):
        facts["resource"] = plan.resource
    if plan.expert_parallel:
        facts["expertParallel"] = True
    if plan.published and plan.accelerator == CPU:
        facts["published"] = True
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def decimal_string(value: float, digits: int = 3) -> str:
    """`0.5`, `4`, `3.125`: at most `digits` decimals, no exponent, no trailing zeros."""
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _trace(trace: results.PlannedTrace) -> PlannedTrace:
    return PlannedTrace(
        hash=trace.digest,
        requests=trace.requests,
        seconds=round(trace.seconds),
        requests_per_second=figure(trace.rate),
        prompt_tokens=trace.prompt_tokens,
        output_tokens=trace.output_tokens,
    )


def _predicted(plan: Plan) -> Predicted:
    predicted, seen = plan.predicted, plan.predicted.simulated
    cost = predicted.cost_per_million_tokens
    return Predicted(
        time_to_first_token=_latency(
            predicted.ttft_p95, predicted.ttft_p95_range, None if seen is None else seen.ttft_p50
        ),
        time_per_output_token=_latency(
            predicted.tpot_p95, predicted.tpot_p95_range, None if seen is None else seen.tpot_p50
        ),
        requests_per_second_per_replica=figure(predicted.requests_per_second_per_replica),
        cost_per_million_tokens=None if cost is None else figure(cost),
        queue=None if seen is None else _latency(seen.queue_p95),
        simulated=None
        if seen is None
        else SimulatedTraffic(
            requests=seen.requests, seed=seen.seed, requests_per_second=figure(seen.rate)
        ),
    )


def _latency(
    p95: float, span: tuple[float, float] | None = None, p50: float | None = None
) -> PercentileValue:
    low, high = (None, None) if span is None else map(format_duration, span)
    median = None if p50 is None else format_duration(p50)
    return PercentileValue(p50=median, p95=format_duration(p95), low=low, high=high)

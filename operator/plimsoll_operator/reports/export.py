"""A plan as plain data, for `-o json` and `-o yaml`."""

from dataclasses import asdict, replace
from typing import Any

from plimsoll_operator.planning.offline import Planned
from plimsoll_operator.planning.status import plan_status
from plimsoll_operator.plans.choice import inputs_hash
from plimsoll_operator.reports.plan_report import Report
from plimsoll_planner.cost import Cost, TokenCost
from plimsoll_planner.inputs import PlanRequest
from plimsoll_planner.result import Candidate
from plimsoll_planner.text import figure, round_up


def as_document(planned: Planned, *, explained: bool = False) -> dict[str, Any]:
    """The keys of `status.plan`, the verdict and what it rests on; no plan where nothing fits.

    `engineLimit` is there only where the engine cannot run the plan, and says why; `request`, all
    that the planner was asked in SI units, only where it is to be `explained`.
    """
    result, declared = planned.result, planned.declared
    status = plan_status(result)
    fields = {} if status is None else status.model_dump(by_alias=True, exclude_none=True)
    limit = Report.of(planned).engine_limit()
    cost = None if result.plan is None else result.plan.cost
    return {
        "name": declared.resource.name,
        **({"namespace": declared.namespace} if declared.namespace else {}),
        "feasible": result.feasible,
        **fields,
        **({} if cost is None else {"cost": _cost(cost)}),
        **({} if limit is None else {"engineLimit": limit}),
        "bindingConstraint": result.binding_constraint,
        "alternatives": [
            {"change": item.change, "effect": item.effect} for item in result.alternatives
        ],
        "inputs": inputs_hash(planned.request),
        "candidates": [_candidate(item) for item in result.candidates],
        **({"request": _request(planned.request)} if explained else {}),
    }


def _request(request: PlanRequest) -> dict[str, Any]:
    """All of it, but of a trace the hash."""
    trace = request.workload.trace
    plain: dict[str, Any] = _plain(
        asdict(replace(request, workload=replace(request.workload, trace=None)))
    )
    plain["workload"]["trace"] = None if trace is None else trace.digest
    return plain


def _plain(value: Any) -> Any:
    """Only what JSON and YAML have."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, int | float | None) else str(value)


def _cost(cost: Cost) -> dict[str, Any]:
    loads = {"plannedLoad": cost.planned_load, "fullLoad": cost.full_load}
    return {
        "perHour": figure(cost.per_hour, 6),
        **{name: _per_million(load) for name, load in loads.items() if load is not None},
    }


def _per_million(cost: TokenCost) -> dict[str, str]:
    parts = {
        "perMillionPromptTokens": cost.prompt,
        "perMillionOutputTokens": cost.output,
        "costPerMillionTokens": cost.output_alone,
    }
    return {
        "requestsPerSecond": figure(cost.requests_per_second),
        **{name: figure(value) for name, value in parts.items() if value is not None},
    }


def _candidate(item: Candidate) -> dict[str, Any]:
    found: dict[str, Any] = {
        "accelerator": item.accelerator,
        "tensorParallelSize": item.tensor_parallel_size,
        "weights": item.weights_precision,
        "rejectedBecause": item.rejected_because,
    }
    if item.pipeline_parallel_size > 1:
        found["pipelineParallelSize"] = item.pipeline_parallel_size
    if item.expert_parallel:
        found["expertParallel"] = True
    figures = item.figures
    if figures is None:
        return found
    found |= {
        "replicas": figures.replicas,
        "maxNumSeqs": figures.max_num_seqs,
        "maxNumBatchedTokens": figures.max_num_batched_tokens,
        "ttftSeconds": figures.ttft_p95,
        "tpotSeconds": figures.tpot_p95,
        "requestsPerSecondPerReplica": figure(figures.requests_per_second_per_replica),
    }
    if figures.cost_per_hour is not None:
        found["costPerHour"] = figure(round_up(figures.cost_per_hour, 6), 6)
    return found

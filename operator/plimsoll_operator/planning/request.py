"""From a validated spec, the model's facts and the nodes to what the planner is asked."""

from dataclasses import replace

from plimsoll_operator.api.quantity import parse_bytes, parse_duration, parse_quantity
from plimsoll_operator.api.spec import (
    LLMDeploymentSpec,
    Percentiles,
    Speculation,
    SpeculationMethod,
    WhenInfeasible,
)
from plimsoll_operator.api.workload import DEFAULT_REQUESTS_PER_SECOND, TokenLengths
from plimsoll_operator.api.workload import Workload as DeclaredWorkload
from plimsoll_operator.engines.engine_support import ENGINE
from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.inputs import (
    AcceleratorPool,
    DraftModel,
    Lengths,
    Objectives,
    Pin,
    PlanRequest,
    Workload,
)
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.models.model import Model
from plimsoll_planner.simulation.recorded_trace import RecordedTrace
from plimsoll_planner.simulation.trace import workload_of

P95_OVER_MEAN = 2
"""Ratio of the 95th percentile to the mean where a spec gives only the mean: between that of fixed
lengths (1) and of exponentially distributed ones (3)."""


def plan_request(  # noqa: PLR0913 - the last by name
    spec: LLMDeploymentSpec,
    model: Model,
    inventory: tuple[AcceleratorPool, ...],
    accelerators: tuple[Accelerator, ...] = (),
    draft: Model | None = None,
    *,
    trace: RecordedTrace | None = None,
) -> PlanRequest:
    """What the planner is asked for `spec`. Expects a spec that `validate.parse_spec` returned.

    `accelerators` go before the catalogue. What the engine can run goes first, for
    `plimsoll plan` as for the operator, so that both answer the same. `draft` is the model of
    `spec.speculation.draftModel`, `trace` what `spec.workload.trace` names. Raises ValueError where
    the one cannot draft for `model`, the other is missing, or declared lengths are more than
    `model` can take.
    """
    _within_context(spec, model)
    slo, pin = spec.slo, spec.pin
    cost = slo.max_cost_per_million_tokens
    kv_cache = pin.kv_cache_memory
    return PlanRequest(
        model=model,
        workload=_workload(spec.workload, trace),
        objectives=Objectives(
            ttft_p95=_seconds(slo.time_to_first_token),
            tpot_p95=_seconds(slo.time_per_output_token),
            max_cost_per_million_tokens=None if cost is None else float(parse_quantity(cost)),
        ),
        inventory=inventory,
        allow=tuple(spec.accelerators.allow),
        max_accelerators_per_replica=spec.accelerators.max_per_replica,
        weights_precision=spec.precision.weights.value,
        kv_cache_precision=spec.precision.kv_cache.value,
        max_context_length=spec.model.max_context_length,
        min_replicas=spec.scaling.min_replicas,
        max_replicas=spec.scaling.max_replicas,
        best_effort=slo.when_infeasible is WhenInfeasible.BEST_EFFORT,
        pin=Pin(
            tensor_parallel_size=pin.tensor_parallel_size,
            max_num_seqs=pin.max_num_seqs,
            max_num_batched_tokens=pin.max_num_batched_tokens,
            kv_cache_bytes=None if kv_cache is None else parse_bytes(kv_cache),
            pipeline_parallel_size=pin.pipeline_parallel_size,
        ),
        accelerators=accelerators,
        draft=_drafts(spec.speculation, draft, model),
        engine=ENGINE,
    )


def _within_context(spec: LLMDeploymentSpec, model: Model) -> None:
    """The engine refuses what is longer, so that a plan for it would promise what nobody gets."""
    declared, longest = spec.workload, spec.model.max_context_length
    own, prompts, outputs = model.max_position_embeddings, declared.prompts, declared.outputs
    if longest is not None and longest > own:
        raise ValueError(
            f"spec.model.maxContextLength: {longest}: the model's own context is {own} tokens: "
            "take at most that, or leave it out to have all of it"
        )
    if declared.prompt_tokens is None and declared.output_tokens is None:
        return
    if prompts.mean + outputs.mean > own:
        raise ValueError(
            f"spec.workload declares prompts of {prompts.mean} and outputs of {outputs.mean} "
            f"tokens in the mean, together more than the model's context of {own}: lower "
            "promptTokens.mean or outputTokens.mean, or take a model with a longer context"
        )


def _drafts(speculation: Speculation, draft: Model | None, target: Model) -> DraftModel | None:
    if draft is not None:
        return _draft(speculation, draft, target)
    if speculation.method is not SpeculationMethod.N_GRAM:
        return None
    return DraftModel(None, speculation.num_tokens, speculation.max_sequences)


def _draft(speculation: Speculation, draft: Model, target: Model) -> DraftModel:
    where = "spec.speculation.draftModel"
    if draft.vocab_size != target.vocab_size:
        raise ValueError(
            f"{where} has a vocabulary of {draft.vocab_size} tokens and the model one of "
            f"{target.vocab_size}: drafts must be in the model's own tokens, so take a smaller "
            "model of the same family, or method NGram, which needs none"
        )
    own, other = model_facts(draft).parameters, model_facts(target).parameters
    if own > other:
        raise ValueError(
            f"{where} has {own:,} parameters, more than the {other:,} of the model that it drafts "
            "for, and would only slow it down: take a smaller one, or method NGram"
        )
    return DraftModel(draft, speculation.num_tokens, speculation.max_sequences)


def _workload(declared: DeclaredWorkload, trace: RecordedTrace | None) -> Workload:
    rate = declared.requests_per_second
    if declared.trace is None:
        return Workload(
            requests_per_second=float(parse_quantity(rate or DEFAULT_REQUESTS_PER_SECOND)),
            prompt_tokens=_lengths(declared.prompts),
            output_tokens=_lengths(declared.outputs),
            shared_prefix_tokens=declared.shared_prefix_tokens,
        )
    if trace is None:
        raise ValueError("spec.workload.trace names a trace, and none was given")
    own = workload_of(trace.arrivals)
    return replace(
        own,
        requests_per_second=own.requests_per_second
        if rate is None
        else float(parse_quantity(rate)),
        trace=trace,
    )


def _lengths(lengths: TokenLengths) -> Lengths:
    p95 = P95_OVER_MEAN * lengths.mean if lengths.p95 is None else lengths.p95
    return Lengths(mean=lengths.mean, p95=p95)


def _seconds(promise: Percentiles | None) -> float | None:
    return None if promise is None else parse_duration(promise.p95)

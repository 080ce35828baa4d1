"""A plan as people read it in a terminal, at most 100 columns wide."""

import textwrap
from dataclasses import dataclass

from plimsoll_operator.api.quantity import format_bytes, format_duration
from plimsoll_operator.planning.status import decimal_string, plan_status, revision, summary
from plimsoll_operator.standing import engine_limit
from plimsoll_planner.accelerators import Accelerator, find
from plimsoll_planner.inputs import PlanRequest
from plimsoll_planner.memory import MemoryPlan, with_kv_cache, without_kv_cache
from plimsoll_planner.model_facts import ModelFacts, model_facts
from plimsoll_planner.options import HEADROOM
from plimsoll_planner.result import Plan, PlanResult
from plimsoll_planner.shape import Shape
from plimsoll_planner.text import figure

WIDTH = 96
_LABEL = 12
_BAR = 60
_KEPT, _BROKEN = "✓", "✗"
_PARTS = (("weights", "█"), ("KV cache", "▓"), ("activations", "▒"), ("reserve", "░"))


@dataclass(frozen=True)
class Report:
    """What a table is made of. `name` is the resource's, `source` where its model is, `unserved`
    why the engine cannot run that model, empty if it can."""

    name: str
    source: str
    request: PlanRequest
    result: PlanResult
    unserved: str = ""

    def table(self) -> str:
        """The lines, without a trailing newline."""
        facts = model_facts(self.request.model)
        size = f"{_count(facts.parameters)} parameters"
        if facts.experts:
            size += f", {_count(facts.active_parameters)} of them active"
        lines = [f"{self.name}   {self.source}, {size}", ""]
        verdict = f"{_KEPT} feasible" if self.result.feasible else f"{_BROKEN} not feasible"
        plan, limit = self.result.plan, self.engine_limit()
        if plan is None:
            lines += [_row("plan", f"{verdict}: no plan fits")]
        else:
            nearest = "" if self.result.feasible else ", nearest plan"
            lines += [
                _row("plan", f"{summary(plan)}   {verdict}{nearest}, revision {revision(plan)}"),
                *([] if limit is None else _wrapped("cannot run", limit)),
                *_engine(plan, self.request),
                "",
                *_promises(plan, self.request),
                "",
                *_memory(plan, facts, self.request.accelerators),
            ]
        lines += ["", *self._reasons()]
        return "\n".join(line.rstrip() for line in lines)

    def engine_limit(self) -> str | None:
        """Why the engine cannot run the plan, in the operator's words; None where it can."""
        status = plan_status(self.result)
        trouble = None if status is None else engine_limit(status, self.unserved)
        return None if trouble is None else trouble.message

    def _reasons(self) -> list[str]:
        if self.result.feasible:
            return _wrapped("not cheaper", self.result.binding_constraint)
        lines = _wrapped("because", self.result.binding_constraint)
        for index, alternative in enumerate(self.result.alternatives):
            label = "would do" if index == 0 else ""
            lines += _wrapped(label, alternative.change)
            lines += _wrapped("", f"→ {alternative.effect}", hang=2)
        if not self.result.alternatives:
            lines += _wrapped("would do", "no single change that Plimsoll knows of")
        return lines


def _engine(plan: Plan, request: PlanRequest) -> list[str]:
    if plan.cpu_cores is not None:
        cores = decimal_string(plan.cpu_cores)
        one = f"{cores} CPU core{'s' if plan.cpu_cores > 1 else ''}"
    else:
        one = f"{plan.tensor_parallel_size} × {plan.accelerator}"
    if plan.tensor_parallel_size > 1:
        experts = " and expert" if plan.expert_parallel else ""
        one += f" (tensor{experts} parallel {plan.tensor_parallel_size})"
    if plan.pipeline_parallel_size > 1:
        one += f" on each of {plan.pipeline_parallel_size} nodes (pipeline parallel)"
    contexts = plan.kv_cache_tokens / plan.max_model_len
    kv_cache = (
        f"{format_bytes(plan.kv_cache_bytes)}, {plan.kv_cache_tokens} tokens: "
        f"{figure(contexts, 2)} × the longest context of {plan.max_model_len}"
    )
    precision = f"weights {plan.weights_precision}, KV cache {plan.kv_cache_precision}"
    sequences = "1 sequence" if plan.max_num_seqs == 1 else f"{plan.max_num_seqs} sequences"
    batch = f"{sequences}, {plan.max_num_batched_tokens} new tokens a step"
    return [
        _row("replica", f"{one}, {precision}"),
        _row(
            "replicas", f"{plan.replicas}, within {request.min_replicas} to {request.max_replicas}"
        ),
        _row("batch", batch),
        _row("KV cache", kv_cache),
    ]


def _promises(plan: Plan, request: PlanRequest) -> list[str]:
    load = request.workload.requests_per_second
    promised, predicted = request.objectives, plan.predicted
    rate = plan.replicas * predicted.requests_per_second_per_replica
    lines = [f"  {'':<24}{'predicted':>12}{'promised':>12}"]
    for name, has, limit in (
        ("time to first token p95", predicted.ttft_p95, promised.ttft_p95),
        ("time per token p95", predicted.tpot_p95, promised.tpot_p95),
    ):
        wanted = "-" if limit is None else format_duration(limit)
        kept = None if limit is None else has <= limit * (1 - HEADROOM) * 1.005
        lines.append(_compared(name, format_duration(has), wanted, kept))
    sustained = _compared("requests/s sustained", figure(rate), figure(load), rate >= load)
    lines.append(sustained)
    cost, most = predicted.cost_per_million_tokens, promised.max_cost_per_million_tokens
    if cost is not None or most is not None:
        lines.append(
            _compared(
                "cost per 1M tokens",
                "unknown" if cost is None else figure(cost),
                "-" if most is None else figure(most),
                None if most is None else cost is not None and cost <= most,
            )
        )
    lines.append(f"  latencies at {figure(load)} requests/s leave {HEADROOM:.0%} headroom")
    return lines


def _compared(name: str, has: str, wanted: str, kept: bool | None) -> str:
    mark = "" if kept is None else f"   {_KEPT if kept else _BROKEN}"
    return f"  {name:<24}{has:>12}{wanted:>12}{mark}"


def breakdown(plan: Plan, facts: ModelFacts, overrides: tuple[Accelerator, ...] = ()) -> MemoryPlan:
    """Where the memory of one rank goes.

    Raises ValueError for an accelerator that is neither in `overrides` nor in the catalogue.
    """
    accelerator = find(plan.accelerator, overrides)
    if accelerator is None:
        raise ValueError(f"no figures for {plan.accelerator}")
    shape = Shape(
        accelerator,
        plan.accelerator,
        plan.weights_precision,
        plan.kv_cache_precision,
        plan.tensor_parallel_size,
        plan.cpu_cores,
        plan.pipeline_parallel_size,
        plan.expert_parallel,
    )
    base = without_kv_cache(facts, shape, plan.max_num_batched_tokens, plan.max_num_seqs)
    blocks = plan.kv_cache_tokens // 16
    return with_kv_cache(base, plan.kv_cache_bytes // max(1, blocks), blocks)


def _memory(plan: Plan, facts: ModelFacts, overrides: tuple[Accelerator, ...]) -> list[str]:
    parts = breakdown(plan, facts, overrides)
    sizes = (parts.weights, parts.kv_cache, parts.activations, parts.reserve)
    bar, drawn, so_far = "", 0, 0
    for (_, mark), size in zip(_PARTS, sizes, strict=True):
        so_far += size
        upto = round(_BAR * so_far / parts.total)
        bar += mark * (upto - drawn)
        drawn = upto
    legend = "   ".join(
        f"{mark} {name} {format_bytes(size)}"
        for (name, mark), size in zip(_PARTS, sizes, strict=True)
    )
    unit = "replica" if plan.cpu_cores is not None else "accelerator"
    if plan.cpu_cores is not None and plan.tensor_parallel_size > 1:
        unit = "rank"
    return [
        _row("memory", f"{bar} {format_bytes(parts.total)} per {unit}"),
        _row("", legend),
    ]


def _row(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{text}"


def _wrapped(label: str, text: str, hang: int = 0) -> list[str]:
    first = f"  {label:<{_LABEL}}"
    rest = " " * (len(first) + hang)
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _count(number: int) -> str:
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{figure(number / unit)}{name}"
    return str(number)

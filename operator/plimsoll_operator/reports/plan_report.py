"""A plan as people read it in a terminal."""

from dataclasses import dataclass

from plimsoll_operator.api.quantity import format_bytes, format_duration
from plimsoll_operator.calibration.figures import decimal
from plimsoll_operator.planning.offline import Planned
from plimsoll_operator.planning.status import decimal_string, plan_status, revision, summary
from plimsoll_operator.plans.choice import engine_limit
from plimsoll_operator.reports.layout import BROKEN, KEPT, row, table, wrapped
from plimsoll_planner.accelerators import Accelerator, find
from plimsoll_planner.cost import Cost, TokenCost
from plimsoll_planner.drafting import Drafter, memory_without_kv_cache
from plimsoll_planner.inputs import DraftModel, PlanRequest
from plimsoll_planner.model_facts import ModelFacts, model_facts
from plimsoll_planner.performance.memory import BLOCK_SIZE, MemoryPlan, with_kv_cache, with_reserves
from plimsoll_planner.planned_shape import shape_of
from plimsoll_planner.result import Plan, PlanResult
from plimsoll_planner.search.options import HEADROOM
from plimsoll_planner.text import figure, money
from plimsoll_planner.uncertainty import uncertainty

_BAR = 40
_PARTS = (("weights", "█"), ("KV cache", "▓"), ("activations", "▒"), ("reserve", "░"))


@dataclass(frozen=True)
class Report:
    """What a table is made of. `name` is the resource's title, `source` where its model is,
    `unserved` why the engine cannot run that model, empty if it can."""

    name: str
    source: str
    request: PlanRequest
    result: PlanResult
    unserved: str = ""

    @classmethod
    def of(cls, planned: Planned) -> "Report":
        """What there is to say of a planned LLMDeployment."""
        declared = planned.declared
        source = declared.spec.model.source
        return cls(declared.title, source, planned.request, planned.result, planned.unserved)

    def table(self) -> str:
        """The lines, without a trailing newline."""
        facts = model_facts(self.request.model)
        size = f"{_count(facts.parameters)} parameters"
        if facts.experts:
            size += f", {_count(facts.active_parameters)} of them active"
        lines = [f"{self.name}   {self.source}, {size}", ""]
        if self.request.draft is not None:
            lines[1:1] = wrapped("drafts", _drafts(self.request.draft))
        verdict = f"{KEPT} feasible" if self.result.feasible else f"{BROKEN} not feasible"
        plan, limit = self.result.plan, self.engine_limit()
        if plan is None:
            lines += [row("plan", f"{verdict}: no plan fits")]
        else:
            nearest = "" if self.result.feasible else ", nearest plan"
            lines += [
                *wrapped(
                    "plan", f"{summary(plan)}   {verdict}{nearest}, revision {revision(plan)}"
                ),
                *([] if limit is None else wrapped("cannot run", limit)),
                *_engine(plan, self.request),
                "",
                *_promises(plan, self.request),
                "",
                *([] if plan.cost is None else [*_costs(plan.cost), ""]),
                *_memory(plan, facts, self.request),
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
            return wrapped("not cheaper", self.result.binding_constraint)
        lines = wrapped("because", self.result.binding_constraint)
        for index, alternative in enumerate(self.result.alternatives):
            label = "would do" if index == 0 else ""
            lines += wrapped(label, alternative.change)
            lines += wrapped("", f"→ {alternative.effect}", hang=2)
        if not self.result.alternatives:
            lines += wrapped("would do", "no single change that Plimsoll knows of")
        return lines


def _drafts(draft: DraftModel) -> str:
    source = "looked up in the text"
    if draft.model is not None:
        source = f"by a model of {_count(model_facts(draft.model).parameters)} parameters"
    return (
        f"{draft.num_tokens} tokens ahead {source}, in steps of at "
        f"most {draft.max_sequences} sequences; predicted as if none were right"
    )


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
    if plan.weights_precision == plan.kv_cache_precision:
        precision = f"weights and KV cache {plan.weights_precision}"
    sequences = "1 sequence" if plan.max_num_seqs == 1 else f"{plan.max_num_seqs} sequences"
    batch = f"{sequences}, {plan.max_num_batched_tokens} new tokens a step"
    return [
        *wrapped("replica", f"{one}, {precision}"),
        row(
            "replicas", f"{plan.replicas}, within {request.min_replicas} to {request.max_replicas}"
        ),
        row("batch", batch),
        row("KV cache", kv_cache),
    ]


def _promises(plan: Plan, request: PlanRequest) -> list[str]:
    load = request.workload.requests_per_second
    promised, predicted = request.objectives, plan.predicted
    # A share of the load, times the replicas again, may fall short of it in the last digit.
    rate = plan.replicas * predicted.requests_per_second_per_replica * (1 + 1e-12)
    lines = [_compared("", "predicted", "8 of 10 within", "promised", None)]
    for name, has, span, limit in (
        (
            "time to first token p95",
            predicted.ttft_p95,
            predicted.ttft_p95_range,
            promised.ttft_p95,
        ),
        ("time per token p95", predicted.tpot_p95, predicted.tpot_p95_range, promised.tpot_p95),
    ):
        wanted = "-" if limit is None else format_duration(limit)
        kept = None if limit is None else has <= limit * (1 - HEADROOM) * 1.005
        between = "" if span is None else " to ".join(map(format_duration, span))
        lines.append(_compared(name, format_duration(has), between, wanted, kept))
    sustained = rate >= load
    lines.append(_compared("requests/s sustained", figure(rate), "", figure(load), sustained))
    cost, most = predicted.cost_per_million_tokens, promised.max_cost_per_million_tokens
    if most is not None:
        lines.append(
            _compared(
                "cost per 1M tokens",
                "unknown" if cost is None else money(cost),
                "",
                money(most),
                cost is not None and cost <= most,
            )
        )
    seen = predicted.simulated
    kind = "simulated requests" if plan.trace is None else "replayed requests"
    how = "closed formulas" if seen is None else f"{seen.requests} {kind}"
    lines.append(
        f"  latencies at {figure(load)} requests/s leave {HEADROOM:.0%} headroom; by {how}"
    )
    accelerator = find(plan.accelerator, request.accelerators)
    if accelerator is not None and predicted.ttft_p95_range is not None:
        lines.append(f"  ranges are {uncertainty(accelerator).basis}")
    if accelerator is not None and accelerator.frontend is not None:
        time = accelerator.frontend
        lines.append(
            f"  HTTP and delivery as measured: {decimal(time.request * 1e3)}ms of CPU a request, "
            f"{decimal((time.event + time.token) * 1e3)}ms a token"
        )
    return lines


def _compared(name: str, has: str, span: str, wanted: str, kept: bool | None) -> str:
    mark = "" if kept is None else f"   {KEPT if kept else BROKEN}"
    return f"  {name:<24}{has:>10}{span:>18}{wanted:>11}{mark}"


def _costs(cost: Cost) -> list[str]:
    rows = [("per 1M tokens at", "prompt", "output", "all on output")]
    for load, name in ((cost.planned_load, "planned"), (cost.full_load, "full load")):
        if load is not None:
            rows.append((f"{figure(load.requests_per_second)} requests/s, {name}", *_money(load)))
    return [row("cost", f"{money(cost.per_hour)} an hour"), *table(rows, frozenset({1, 2, 3}))]


def _money(cost: TokenCost) -> tuple[str, str, str]:
    """A dash where more arrives than is served: tokens that nobody gets have no price."""
    if cost.prompt is None or cost.output is None:
        return "-", "-", "-"
    return money(cost.prompt), money(cost.output), money(cost.output_alone)


def breakdown(
    plan: Plan,
    facts: ModelFacts,
    overrides: tuple[Accelerator, ...] = (),
    draft: DraftModel | None = None,
    reserves: tuple[tuple[str, int], ...] = (),
) -> MemoryPlan:
    """Where the memory of one rank goes.

    Raises ValueError for an accelerator that is neither in `overrides` nor in the catalogue.
    """
    base = memory_without_kv_cache(
        facts,
        shape_of(plan, overrides),
        Drafter.of(draft),
        plan.max_num_batched_tokens,
        plan.max_num_seqs,
    )
    base = with_reserves(base, plan.accelerator, reserves)
    blocks = plan.kv_cache_tokens // BLOCK_SIZE
    return with_kv_cache(base, plan.kv_cache_bytes // max(1, blocks), blocks)


def _memory(plan: Plan, facts: ModelFacts, request: PlanRequest) -> list[str]:
    parts = breakdown(plan, facts, request.accelerators, request.draft, request.reserves)
    sizes = (parts.weights, parts.kv_cache, parts.activations, parts.reserve)
    bar, drawn, so_far = "", 0, 0
    for (_, mark), size in zip(_PARTS, sizes, strict=True):
        so_far += size
        upto = round(_BAR * so_far / parts.total)
        bar += mark * (upto - drawn)
        drawn = upto
    legend = [
        f"{mark} {name} {format_bytes(size)}"
        for (name, mark), size in zip(_PARTS, sizes, strict=True)
    ]
    unit = "replica" if plan.cpu_cores is not None else "accelerator"
    if plan.cpu_cores is not None and plan.tensor_parallel_size > 1:
        unit = "rank"
    return [
        row("memory", f"{bar} {format_bytes(parts.total)} per {unit}"),
        row("", f"{legend[0]:<22}{legend[1]}"),
        row("", f"{legend[2]:<22}{legend[3]}"),
    ]


def _count(number: int) -> str:
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{figure(number / unit)}{name}"
    return str(number)

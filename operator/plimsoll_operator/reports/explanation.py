"""Why a plan is what it is: what it was made from, and every candidate with why it lost."""

from collections.abc import Iterator
from dataclasses import replace

from plimsoll_operator.api.quantity import format_bytes, format_duration
from plimsoll_operator.planning.offline import Planned
from plimsoll_operator.plans.choice import inputs_hash
from plimsoll_operator.reports.layout import row, table, wrapped
from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.inputs import AcceleratorPool, Lengths, Pin, PlanRequest, Workload
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.result import Candidate, PlanResult
from plimsoll_planner.search.options import HEADROOM
from plimsoll_planner.search.products import price_per_hour
from plimsoll_planner.simulation.trace import cached_share
from plimsoll_planner.text import figure, money

_PINS = (
    ("tensor_parallel_size", "tensorParallelSize"),
    ("pipeline_parallel_size", "pipelineParallelSize"),
    ("max_num_seqs", "maxNumSeqs"),
    ("max_num_batched_tokens", "maxNumBatchedTokens"),
    ("kv_cache_bytes", "kvCacheMemory"),
)


def explanation(planned: Planned) -> list[str]:
    """Lines to follow a report's table."""
    return ["", *reasons(planned.declared.spec.model.source, planned.request, planned.result)]


def reasons(source: str, request: PlanRequest, result: PlanResult) -> list[str]:
    """What the planner was asked for the model at `source`, and how each candidate fared."""
    return [*_inputs(source, request), "", *_candidates(result)]


def _inputs(source: str, request: PlanRequest) -> list[str]:
    workload, promised = request.workload, request.objectives
    facts = model_facts(request.model)
    promises = [
        f"{name} {shown}"
        for name, shown in (
            ("TTFT p95", _seconds(promised.ttft_p95)),
            ("TPOT p95", _seconds(promised.tpot_p95)),
            ("cost per 1M output tokens", _money(promised.max_cost_per_million_tokens)),
        )
        if shown
    ]
    allowed = ", ".join(request.allow) or "any accelerator"
    lines = [
        row("inputs", f"hash {inputs_hash(request)}, nodes left out"),
        *wrapped(
            "model",
            f"{source}, {facts.parameters:,} parameters, longest "
            f"context {request.max_context_length or request.model.max_position_embeddings}"
            f"{_drafts(request)}",
        ),
        *wrapped(
            "workload",
            f"{figure(workload.requests_per_second)} requests/s, "
            f"prompts {_lengths(workload.prompt_tokens)}, "
            f"outputs {_lengths(workload.output_tokens)} tokens{_trace(workload)}",
        ),
        *wrapped(
            "promised", (", ".join(promises) or "nothing") + f"; {HEADROOM:.0%} headroom is kept"
        ),
        *wrapped(
            "bounds",
            f"{request.min_replicas} to {request.max_replicas} replicas of at most "
            f"{request.max_accelerators_per_replica} of {allowed}; weights "
            f"{request.weights_precision}, KV cache {request.kv_cache_precision}; "
            f"pins: {', '.join(_pins(request.pin)) or 'none'}",
        ),
    ]
    for name, size in request.reserves:
        learnt = f"{format_bytes(size)} more on {name}, as pods ran out of memory there"
        lines += wrapped("reserve", learnt)
    nodes = [_pool(pool, request.accelerators) for pool in request.inventory] or ["none"]
    return [*lines, *(row("nodes" if i == 0 else "", text) for i, text in enumerate(nodes))]


def _trace(workload: Workload) -> str:
    trace = workload.trace
    if trace is None:
        return ""
    seconds = trace.arrivals[-1].at - trace.arrivals[0].at
    found = cached_share(trace.arrivals)
    repeated = f", {found:.0%} of prompt tokens in blocks that came before" if found else ""
    return (
        f"; of a trace of {len(trace.arrivals)} requests in {format_duration(seconds)}, hash "
        f"{trace.digest}{repeated}"
    )


def _drafts(request: PlanRequest) -> str:
    if request.draft is None:
        return ""
    drafted = f"; {request.draft.num_tokens} tokens are drafted"
    if request.draft.model is None:
        return f"{drafted} from the text itself"
    return f"{drafted} by a model of {model_facts(request.draft.model).parameters:,} parameters"


def _pins(pin: Pin) -> Iterator[str]:
    for field, name in _PINS:
        value = getattr(pin, field)
        if value is not None:
            yield f"{name} {value}"


def _lengths(lengths: Lengths) -> str:
    return f"mean {lengths.mean} p95 {lengths.p95}"


def _pool(pool: AcceleratorPool, accelerators: tuple[Accelerator, ...]) -> str:
    memory = "" if pool.memory_bytes is None else f", {format_bytes(pool.memory_bytes)}"
    counted = price_per_hour(pool.accelerator, (replace(pool, shared=False),), accelerators)
    price = ", no price" if counted is None else f", {money(counted)} an hour each"
    spot = ", spot" if pool.spot else ""
    shared = ", shared by pods" if pool.shared else ""
    return f"{pool.nodes} with {pool.count} × {pool.accelerator}{memory}{price}{spot}{shared}"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(seconds)


def _money(amount: float | None) -> str:
    return "" if amount is None else money(amount)


def _candidates(result: PlanResult) -> list[str]:
    """Each shape of a replica with its best limits, nearest to the plan first."""
    found = result.candidates
    if not found:
        return [row("candidates", "none: nothing that may be used is on offer")]
    heads = ("candidate", "replicas", "req/s each", "TTFT", "TPOT", "cost/h")
    lines = table([heads, *(_figures(item) for item in found)], frozenset(range(1, len(heads))))
    shown = [lines[0]]
    for line, item in zip(lines[1:], found, strict=True):
        shown += [line, *wrapped("", item.rejected_because or "this is the plan")]
    return shown


def _figures(item: Candidate) -> tuple[str, ...]:
    cores = "×" in item.accelerator
    name = item.accelerator if cores else f"{item.accelerator}×{item.tensor_parallel_size}"
    if item.pipeline_parallel_size > 1:
        name += f"×{item.pipeline_parallel_size}"
    if item.expert_parallel:
        name += " EP"
    figures = item.figures
    if figures is None:
        return (name, "-", "-", "-", "-", "-")
    cost = figures.cost_per_hour
    return (
        f"{name} bs{figures.max_num_seqs}",
        str(figures.replicas),
        figure(figures.requests_per_second_per_replica),
        format_duration(figures.ttft_p95),
        format_duration(figures.tpot_p95),
        "-" if cost is None else money(cost),
    )

"""Several plans side by side. Each is made as if it had all nodes, so what they take is added."""

from collections import Counter
from collections.abc import Sequence

from plimsoll_operator.api.quantity import format_duration
from plimsoll_operator.planning.offline import Planned
from plimsoll_operator.planning.status import summary
from plimsoll_operator.reports.layout import BROKEN, KEPT, table
from plimsoll_planner.text import figure, money

_HEADS = ("deployment", "plan", "replicas", "TTFT", "TPOT", "cost/h", "")


def together(planned: Sequence[Planned]) -> list[str]:
    """A line for each plan, and one for each accelerator that they take."""
    rows = [_HEADS, *(_row(item) for item in planned)]
    costs = [item.result.plan.cost for item in planned if item.result.plan is not None]
    known = [cost.per_hour for cost in costs if cost is not None]
    if known and len(known) == len(costs):
        rows.append(("together", "", "", "", "", money(sum(known)), ""))
    return [*table(rows, frozenset({2, 3, 4, 5})), "", *_taken(planned)]


def _row(item: Planned) -> tuple[str, ...]:
    plan = item.result.plan
    mark = KEPT if item.result.feasible else BROKEN
    if plan is None:
        return (item.declared.title, "no plan fits", "-", "-", "-", "-", mark)
    return (
        item.declared.title,
        summary(plan),
        str(plan.replicas),
        format_duration(plan.predicted.ttft_p95),
        format_duration(plan.predicted.tpot_p95),
        "-" if plan.cost is None else money(plan.cost.per_hour),
        mark,
    )


def _taken(planned: Sequence[Planned]) -> list[str]:
    taken: dict[str, float] = {}
    for item in planned:
        plan = item.result.plan
        if plan is not None and item.result.feasible:
            each = plan.cpu_cores or plan.tensor_parallel_size * plan.pipeline_parallel_size
            taken[plan.accelerator] = taken.get(plan.accelerator, 0) + each * plan.replicas
    there: Counter[str] = Counter()
    for pool in planned[0].request.inventory if planned else ():
        there[pool.accelerator] += pool.count * pool.nodes
    lines = []
    for name, count in sorted(taken.items()):
        text = f"  {figure(count)} of {there[name]} {name} taken"
        more = f"   {BROKEN} more than the nodes hold" if count > there[name] else ""
        lines.append(text + more)
    return lines

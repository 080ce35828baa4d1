"""A comparison as text for a pull request, and as plain data."""

from collections.abc import Sequence
from typing import Any

from plimsoll_operator.planning.comparison import Change, Difference, Kind, total
from plimsoll_operator.reports.layout import BROKEN, table, wrapped
from plimsoll_planner.text import figure, money

_HEADS = {
    Kind.ADDED: "new",
    Kind.CHANGED: "changed",
    Kind.UNCHANGED: "unchanged",
    Kind.REMOVED: "removed",
}


def changes_as_text(changes: Sequence[Change]) -> str:
    """A block for each LLMDeployment that changes or breaks its promise, then what they come to."""
    shown = [each for each in changes if each.kind is not Kind.UNCHANGED or each.failed]
    blocks = [_block(change) for change in shown]
    return "\n\n".join([*map("\n".join, blocks), "\n".join(_summary(changes))]) + "\n"


def change_as_document(change: Change) -> dict[str, Any]:
    """The same for machines."""
    return {
        "name": change.title,
        "change": change.kind.value,
        "summary": change.plan,
        "spec": [_difference(item) for item in change.declared],
        "plan": [_difference(item) for item in change.planned],
        "costPerHour": {
            side: None if cost is None else figure(cost, 6)
            for side, cost in (("old", change.old_cost), ("new", change.new_cost))
        },
        "rollout": {"restarts": change.rollout.restarts, "text": change.rollout.text},
        **({"problem": change.problem} if change.problem else {}),
        "failed": sorted(change.failed),
    }


def _difference(item: Difference) -> dict[str, str | None]:
    return {"field": item.field, "old": item.old, "new": item.new}


def _block(change: Change) -> list[str]:
    old, new = change.old_cost, change.new_cost
    said = [
        _HEADS[change.kind],
        *(["SLO cannot hold"] if change.problem else []),
        *(["engine pods restart"] if change.rollout.restarts else []),
        *([] if old == new else [f"cost per hour{_rise(old, new) or ' unknown'}"]),
    ]
    lines = [f"{change.title}   {', '.join(said)}", ""]
    if change.kind is Kind.CHANGED:
        lines += rows_of("spec", change.declared)
        lines += rows_of("plan", change.planned, _cost_row(change))
    else:
        lines += wrapped("plan", change.plan)
    if change.problem:
        lines += wrapped("SLO", f"{BROKEN} cannot hold: {change.problem}")
    return [*lines, *wrapped("rollout", change.rollout.text)]


def rows_of(
    heading: str, items: Sequence[Difference], last: tuple[str, str, str] | None = None
) -> list[str]:
    """A table of what differs, and an empty line after it; nothing where nothing does."""
    rows = [(item.field, item.old or "-", f"→ {item.new or '-'}") for item in items]
    rows += [last] if last else []
    return [*table([(f"{heading}:", "", ""), *rows]), ""] if rows else []


def _cost_row(change: Change) -> tuple[str, str, str] | None:
    old, new = change.old_cost, change.new_cost
    if old == new:
        return None
    return ("cost per hour", _money(old), f"→ {_money(new)}  {_rise(old, new)}")


def _summary(changes: Sequence[Change]) -> list[str]:
    counts = [
        f"{count} {_HEADS[kind]}"
        for kind in Kind
        if (count := sum(change.kind is kind for change in changes))
    ]
    restarts = sum(change.rollout.restarts for change in changes)
    old, new = (
        total(costs) for costs in ([c.old_cost for c in changes], [c.new_cost for c in changes])
    )
    money_line = f"cost per hour {_money(old)} → {_money(new)},{_rise(old, new)}"
    if old == new:
        money_line = f"cost per hour {_money(old)} as before"
    pods = f"engine pods restart in {restarts}" if restarts else "no engine pod restarts"
    return wrapped("together", f"{', '.join(counts) or 'nothing'}; {pods}; {money_line}")


def _money(cost: float | None) -> str:
    return "unknown" if cost is None else money(cost)


def _rise(old: float | None, new: float | None) -> str:
    if old is None or new is None:
        return ""
    sign = "+" if new >= old else "-"
    share = f" ({sign}{abs(new - old) / old:.0%})" if old and new else ""
    return f" {sign}{money(abs(new - old))}{share}"

"""The revisions of an LLMDeployment as a table: when, by which plan, and what was changed."""

from collections.abc import Iterator, Sequence

from plimsoll_operator.planning.comparison import Difference, differences, plan_fields, spec_fields
from plimsoll_operator.reports.layout import table
from plimsoll_operator.resource import Resource
from plimsoll_operator.revisions.kept_plan import KeptPlan
from plimsoll_operator.revisions.record import RecordError, spec_of

MAX_CHANGES = 4
_HEADS = ("revision", "created", "generation", "plan", "")
_INDENT = " " * 6


def history_report(resource: Resource, history: Sequence[KeptPlan]) -> str:
    """The whole text on `history`, which is ordered oldest first."""
    title = f"{resource.namespace}/{resource.name}"
    if not history:
        return f"{title}   no revision is kept yet\n"
    rows = [_HEADS, *(_row(resource, kept) for kept in history)]
    head, *lines = table(rows, frozenset({0, 2}))
    text = [title, "", head]
    before: KeptPlan | None = None
    for kept, line in zip(history, lines, strict=True):
        text += [line, *_changes(before, kept)]
        before = kept
    return "\n".join(text) + "\n"


def told(changes: Sequence[Difference]) -> Iterator[str]:
    """Each as `field: old → new`, as far as there is room."""
    for change in changes[:MAX_CHANGES]:
        yield f"{change.field}: {change.old or '-'} → {change.new or '-'}"
    if len(changes) > MAX_CHANGES:
        yield f"and {len(changes) - MAX_CHANGES} more: plimsoll explain tells all"


def _row(resource: Resource, kept: KeptPlan) -> tuple[str, ...]:
    try:
        plan = f"{kept.plan.replicas} × {kept.plan.summary}"
        generation = str(kept.inputs.get("generation", "?"))
    except RecordError:
        plan, generation = "cannot be read", "?"
    return (str(kept.number), kept.created or "?", generation, plan, _state(resource, kept))


def _state(resource: Resource, kept: KeptPlan) -> str:
    status = resource.status
    if status.rollback is not None and kept.name == status.rollback.failed_revision:
        return "did not serve, rolled back"
    served = status.served is not None and kept.name == status.served.revision
    if kept.name == status.current_revision:
        return "in force" if served else "in force, not serving yet"
    return "served last" if served else ""


def _changes(before: KeptPlan | None, kept: KeptPlan) -> list[str]:
    if before is None:
        return []
    try:
        declared = differences(
            spec_fields(spec_of(before.inputs)), spec_fields(spec_of(kept.inputs))
        )
        planned = differences(plan_fields(before.plan), plan_fields(kept.plan))
        # What people edited explains what was planned.
        changes = list(declared) or list(planned)
    except RecordError as error:
        return [f"{_INDENT}{error}"]
    return [f"{_INDENT}{line}" for line in told(changes)]

"""Conditions by the API conventions; the time is given, and moves only with the status."""

from collections.abc import Iterable
from dataclasses import dataclass

from plimsoll_operator.api.status import Condition

READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
SLO_FEASIBLE = "SLOFeasible"
AUTOSCALING_ACTIVE = "AutoscalingActive"
PLAN_DRIFTED = "PlanDrifted"
TRACE_RESOLVED = "TraceResolved"
ORDER = (
    READY,
    RECONCILING,
    STALLED,
    SLO_FEASIBLE,
    AUTOSCALING_ACTIVE,
    PLAN_DRIFTED,
    TRACE_RESOLVED,
)
MAX_MESSAGE = 1024


@dataclass(frozen=True)
class Finding:
    """What a condition should say now. `status` is True, False or None for Unknown."""

    type: str
    status: bool | None
    reason: str
    message: str

    @property
    def status_text(self) -> str:
        return "Unknown" if self.status is None else str(self.status)


def set_condition(
    conditions: Iterable[Condition], finding: Finding, generation: int, now: str
) -> list[Condition]:
    """`conditions` with `finding` in it; `lastTransitionTime` changes only if the status does."""
    before = {condition.type: condition for condition in conditions}
    old = before.get(finding.type)
    same = old is not None and old.status == finding.status_text
    before[finding.type] = Condition(
        type=finding.type,
        status=finding.status_text,
        reason=finding.reason,
        message=_bounded(finding.message),
        last_transition_time=old.last_transition_time if old is not None and same else now,
        observed_generation=generation,
    )
    return sorted(before.values(), key=_order)


def get_condition(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of that type, or None."""
    return next((condition for condition in conditions if condition.type == kind), None)


def _bounded(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"


def _order(condition: Condition) -> tuple[int, str]:
    known = condition.type in ORDER
    return (ORDER.index(condition.type) if known else len(ORDER), condition.type)

"""Events for what changed between two statuses; the status itself keeps them from repeating."""

from dataclasses import dataclass

from plimsoll_operator.api.status import LLMDeploymentStatus
from plimsoll_operator.status.conditions import (
    AUTOSCALING_ACTIVE,
    PLAN_DRIFTED,
    READY,
    RECONCILING,
    SLO_FEASIBLE,
    STALLED,
    TRACE_RESOLVED,
    get_condition,
)

_QUIET_REASONS = frozenset(
    {"NotApplied", "NotRunning", "NoReadyReplica", "MetricsPending", "FixedReplicas", "External"}
)
_PROGRESS = frozenset({"Planning", "Applying", "RollingOut", "ChangingLimits"})


@dataclass(frozen=True)
class Event:
    """`type` is Normal or Warning; `action` says in one word what was done."""

    type: str
    reason: str
    action: str
    message: str


def events_between(
    before: LLMDeploymentStatus, after: LLMDeploymentStatus, generation: int
) -> tuple[Event, ...]:
    """What a person should be told of the change from `before` to `after`."""
    events: list[Event] = []
    if after.plan is not None and (
        before.plan is None or before.plan.revision != after.plan.revision
    ):
        message = f"{after.plan.summary}, replicas: {after.plan.replicas}; "
        events.append(Event("Normal", "Planned", "Plan", message + after.plan.binding_constraint))
    feasible, was_feasible = _status(after, SLO_FEASIBLE), _status(before, SLO_FEASIBLE)
    new_generation = before.observed_generation != generation
    if feasible == "False" and (was_feasible != "False" or new_generation):
        events.append(Event("Warning", "Infeasible", "Plan", _message(after, SLO_FEASIBLE)))
    stalled = get_condition(after.conditions, STALLED)
    was_stalled = get_condition(before.conditions, STALLED)
    if (
        stalled is not None
        and stalled.status == "True"
        and stalled.reason != "Infeasible"
        and (
            was_stalled is None
            or was_stalled.status != "True"
            or was_stalled.reason != stalled.reason
        )
    ):
        events.append(Event("Warning", stalled.reason, "Reconcile", stalled.message))
    waiting = get_condition(after.conditions, RECONCILING)
    was_waiting = get_condition(before.conditions, RECONCILING)
    if (
        waiting is not None
        and waiting.status == "True"
        and waiting.reason not in _PROGRESS
        and (was_waiting is None or was_waiting.reason != waiting.reason)
    ):
        events.append(Event("Warning", waiting.reason, "RollOut", waiting.message))
    if _status(after, READY) == "True" and _status(before, READY) != "True":
        plan = "" if after.plan is None else f" by plan {after.plan.summary}"
        events.append(Event("Normal", "RolledOut", "RollOut", f"serving{plan}"))
    events.extend(_scaling_events(before, after))
    drifted, was = (get_condition(item.conditions, PLAN_DRIFTED) for item in (after, before))
    if drifted is not None and drifted.status == "True" and (was is None or was.status != "True"):
        events.append(Event("Warning", drifted.reason, "Measure", drifted.message))
    broken, was = (get_condition(item.conditions, TRACE_RESOLVED) for item in (after, before))
    if broken is not None and broken.status == "False" and broken != was and not _stalls(after):
        events.append(Event("Warning", broken.reason, "Plan", broken.message))
    reserve = after.memory_reserve
    if reserve is not None and reserve != before.memory_reserve:
        message = (
            f"a pod by plan {reserve.plan} ran out of memory: the next plan keeps {reserve.memory} "
            f"more free on {reserve.accelerator}"
        )
        events.append(Event("Warning", "MemoryReserved", "Plan", message))
    return tuple(events)


def _stalls(status: LLMDeploymentStatus) -> bool:
    return _status(status, STALLED) == "True"


def scaled(before: int, after: int, reason: str) -> Event:
    """The autoscaler asks for another number of replicas."""
    return Event("Normal", "Scaled", "Scale", f"from {before} to {after} replicas: {reason}")


def _scaling_events(before: LLMDeploymentStatus, after: LLMDeploymentStatus) -> list[Event]:
    held = get_condition(after.conditions, AUTOSCALING_ACTIVE)
    was = get_condition(before.conditions, AUTOSCALING_ACTIVE)
    if held is None or held.status == "True" or held.reason in _QUIET_REASONS:
        return []
    if was is not None and was.status != "True" and was.reason == held.reason:
        return []
    stalled = get_condition(after.conditions, STALLED)
    if stalled is not None and stalled.status == "True" and stalled.reason == held.reason:
        return []  # told already
    return [Event("Warning", "ScalingHeld", "Scale", held.message)]


def _status(status: LLMDeploymentStatus, kind: str) -> str:
    condition = get_condition(status.conditions, kind)
    return "" if condition is None else condition.status


def _message(status: LLMDeploymentStatus, kind: str) -> str:
    condition = get_condition(status.conditions, kind)
    return "" if condition is None else condition.message

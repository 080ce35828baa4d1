"""The status of a resource: what is in force, how far it is, and conditions that say so."""

from plimsoll_operator.api.spec import ScalingMode
from plimsoll_operator.api.status import LLMDeploymentStatus, ServedStatus
from plimsoll_operator.kube.refusal import REASON as REFUSED
from plimsoll_operator.kube.refusal import describe, lasting
from plimsoll_operator.observed import Rollout, rollout_of
from plimsoll_operator.plans.choice import ROLLED_BACK, Standing
from plimsoll_operator.plans.memory_reserve import reserve_after
from plimsoll_operator.plans.slow_revisions import drifted
from plimsoll_operator.render.labels import selector_text
from plimsoll_operator.render.revision import KIND as REVISION
from plimsoll_operator.render.services import endpoint
from plimsoll_operator.resource import Resource
from plimsoll_operator.status.conditions import (
    AUTOSCALING_ACTIVE,
    PLAN_DRIFTED,
    READY,
    RECONCILING,
    SLO_FEASIBLE,
    STALLED,
    TRACE_RESOLVED,
    Finding,
    get_condition,
    set_condition,
)
from plimsoll_operator.status.inputs import Situation, describe_infeasible, keeps_plan
from plimsoll_operator.status.readiness import readiness
from plimsoll_operator.traces.trouble import TROUBLES


def first_status(resource: Resource, now: str) -> LLMDeploymentStatus:
    """Conditions for a resource that has none yet, written before anything slow is begun."""
    message = "the model's facts and the nodes are being read"
    findings = (
        Finding(READY, status=False, reason="Planning", message=message),
        Finding(RECONCILING, status=True, reason="Planning", message=message),
        Finding(STALLED, status=False, reason="Planning", message=""),
    )
    return _with(resource.status, resource.generation, findings, now)


def new_status(resource: Resource, situation: Situation, now: str) -> LLMDeploymentStatus:
    """The whole status; equal to the present one when nothing has changed."""
    standing, previous = situation.standing, resource.status
    hold = standing.hold
    progress = rollout_of(situation.observed, resource.name, resource.uid)
    rest = (
        _feasible(standing),
        _autoscaling(resource, situation, progress),
        situation.drift.finding,
        _trace(resource, standing),
    )
    findings = (*readiness(resource, situation, progress), *filter(None, rest))
    taken = standing.plan is not None and not keeps_plan(resource, situation, progress)
    unanswered = standing.trouble is not None and standing.beyond is None
    status = previous.model_copy(
        update={
            "replicas": progress.replicas,
            "ready_replicas": progress.ready,
            "selector": selector_text(resource.name),
            "observed": situation.drift.observed,
            "limits": situation.limits.status,
            "draining": sorted(situation.draining),
            "calibration": situation.calibration,
            "memory_reserve": reserve_after(resource, situation),
            "endpoint": endpoint(resource),
            "feasibility": previous.feasibility if unanswered else standing.feasibility,
            "plan": standing.plan if taken else previous.plan if progress.exists else None,
            "rollback": previous.rollback
            if hold is not None and hold.reason == ROLLED_BACK
            else None,
        }
    )
    if taken:
        status = status.model_copy(
            update={
                "plan_generation": resource.generation if hold is None else hold.generation,
                "plan_feasible": standing.feasibility is None,
                "plan_inputs": standing.inputs,
                "current_revision": standing.revision(resource.name),
            }
        )
    elif status.plan is None:
        status = status.model_copy(
            update={
                "plan_generation": None,
                "plan_feasible": None,
                "plan_inputs": None,
                "current_revision": None,
            }
        )
    if findings[0].status and hold is None and status.current_revision and situation.started:
        served = ServedStatus(
            revision=status.current_revision,
            started_plan=situation.started,
            feasible=bool(status.plan_feasible),
        )
        status = status.model_copy(update={"served": served})
    if status.observed is None and status.current_revision == previous.current_revision:
        status = status.model_copy(update={"observed": previous.observed})
    if resource.spec is not None and resource.spec.workload.trace is None:
        others = [each for each in status.conditions if each.type != TRACE_RESOLVED]
        status = status.model_copy(update={"conditions": others})
    status = _with(status, resource.generation, findings, now)
    current = status.current_revision
    if current is None or current != previous.current_revision:
        return status  # what PlanDrifted says is of another
    drift = get_condition(status.conditions, PLAN_DRIFTED)
    kept = {name for kind, name in situation.observed.children if kind == REVISION}
    return status.model_copy(update={"drifted": drifted(previous.drifted, current, drift, kept)})


def _trace(resource: Resource, standing: Standing) -> Finding | None:
    """Whether the trace that the spec names could be read; None where it names none, or where that
    is not known."""
    if resource.spec is None or resource.spec.workload.trace is None:
        return None
    failed = standing.unread or standing.trouble
    if failed is not None:
        if failed.reason not in TROUBLES:
            return None
        kept = "" if standing.unread is None else ". The plan that was made for it before stays"
        message = failed.message + kept
        return Finding(TRACE_RESOLVED, status=False, reason=failed.reason, message=message)
    plan = standing.plan or standing.beyond
    trace = None if plan is None else plan.trace
    if trace is None:
        return None
    message = (
        f"{trace.requests} requests of {trace.seconds} s, planned at {trace.requests_per_second} "
        "requests/s"
    )
    return Finding(TRACE_RESOLVED, status=True, reason="Resolved", message=message)


def _feasible(standing: Standing) -> Finding | None:
    plan = standing.plan or standing.beyond
    if standing.feasibility is not None:
        message = describe_infeasible(standing.feasibility)
        reason = "BestEffort" if plan is not None else "Refused"
        return Finding(SLO_FEASIBLE, status=False, reason=reason, message=message)
    if plan is not None:
        message = f"predicted to hold; {plan.binding_constraint}"
        return Finding(SLO_FEASIBLE, status=True, reason="Planned", message=message)
    return Finding(SLO_FEASIBLE, status=None, reason="NotPlanned", message="there is no plan")


def _autoscaling(resource: Resource, situation: Situation, progress: Rollout) -> Finding | None:
    if resource.spec is None:
        return None
    if progress.exists and (situation.trouble is not None or situation.standing.plan is None):
        cause = "its SLO cannot hold" if situation.trouble is None else situation.trouble.reason
        message = (
            f"the replica count is held at {progress.desired}, since this generation is not "
            f"applied ({cause}): what runs is neither scaled nor mended until it is"
        )
        return Finding(AUTOSCALING_ACTIVE, status=False, reason="NotApplied", message=message)
    refused = [item for item in lasting(situation.refusals) if item.action.key[0] == "Deployment"]
    if progress.exists and refused:
        message = f"the replica count is held at {progress.desired}: {describe(refused)}"
        return Finding(AUTOSCALING_ACTIVE, status=False, reason=REFUSED, message=message)
    drains = _drains(situation)
    if resource.spec.scaling.mode is ScalingMode.EXTERNAL:
        message = f"spec.replicas decides, within minReplicas and maxReplicas{drains}"
        return Finding(AUTOSCALING_ACTIVE, status=False, reason="External", message=message)
    if situation.decision is None:
        message = "nothing runs that could be scaled"
        return Finding(AUTOSCALING_ACTIVE, status=False, reason="NotRunning", message=message)
    decision = situation.decision
    return Finding(
        AUTOSCALING_ACTIVE,
        status=decision.active,
        reason=decision.reason,
        message=f"{decision.message}{drains}",
    )


def _drains(situation: Situation) -> str:
    """What to say of replicas that are about to go."""
    count = len(situation.draining)
    if not count:
        return ""
    if count == 1:
        return "; 1 replica drains, and goes when its requests have ended"
    return f"; {count} replicas drain, and go when their requests have ended"


def _with(
    status: LLMDeploymentStatus, generation: int, findings: tuple[Finding, ...], now: str
) -> LLMDeploymentStatus:
    conditions = status.conditions
    for finding in findings:
        conditions = set_condition(conditions, finding, generation, now)
    return status.model_copy(update={"conditions": conditions, "observed_generation": generation})

"""The status of a resource: what is in force, how far it is, and conditions that say so.

Ready is True exactly when this generation serves; Reconciling and Stalled are True only in their
case, so that tools which know only the conventions (kstatus) read progress and failure right.
"""

from dataclasses import dataclass, field
from itertools import chain

from plimsoll_operator.api.spec import ScalingMode
from plimsoll_operator.api.status import Feasibility, LLMDeploymentStatus
from plimsoll_operator.autoscale import Decision
from plimsoll_operator.conditions import (
    AUTOSCALING_ACTIVE,
    READY,
    RECONCILING,
    SLO_FEASIBLE,
    STALLED,
    Finding,
    get_condition,
    set_condition,
)
from plimsoll_operator.observed import Observed, Rollout, owned_by, pod_troubles, rollout
from plimsoll_operator.refusal import REASON as REFUSED
from plimsoll_operator.refusal import Refusal, describe, lasting
from plimsoll_operator.render.labels import selector_text
from plimsoll_operator.resource import Resource
from plimsoll_operator.standing import Standing, Trouble

RETRIED = "It is tried again at least once a minute, and at once after an edit"


@dataclass(frozen=True)
class Situation:
    """All that a status is made from. `pending` names the children that are about to change.

    `refusals` are the API server's answers where it did not let them.
    """

    standing: Standing
    trouble: Trouble | None = None
    decision: Decision | None = None
    observed: Observed = field(default_factory=Observed)
    replicas: int = 0
    pending: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()


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
    deployment = situation.observed.children.get(("Deployment", resource.name))
    ours = deployment if deployment is not None and owned_by(deployment, resource.uid) else None
    progress = rollout(ours)
    findings = _findings(resource, situation, progress)
    taken = standing.plan is not None and not _kept_out(resource, situation, progress)
    unanswered = standing.trouble is not None and standing.beyond is None
    status = previous.model_copy(
        update={
            "replicas": progress.replicas,
            "ready_replicas": progress.ready,
            "selector": selector_text(resource.name),
            "endpoint": f"http://{resource.name}.{resource.namespace}.svc/v1",
            "feasibility": previous.feasibility if unanswered else standing.feasibility,
            "plan": standing.plan if taken else previous.plan if progress.exists else None,
        }
    )
    if taken:
        status = status.model_copy(
            update={
                "plan_generation": resource.generation,
                "plan_feasible": standing.feasibility is None,
                "plan_inputs": standing.inputs,
            }
        )
    elif status.plan is None:
        status = status.model_copy(
            update={"plan_generation": None, "plan_feasible": None, "plan_inputs": None}
        )
    return _with(status, resource.generation, findings, now)


def _kept_out(resource: Resource, situation: Situation, progress: Rollout) -> bool:
    """Whether an earlier plan stays in force because the Deployment for this one is refused."""
    refused = any(
        refusal.action.key == ("Deployment", resource.name) and not refusal.action.only_scales
        for refusal in situation.refusals
    )
    return refused and progress.exists and resource.status.plan is not None


def describe_infeasible(feasibility: Feasibility) -> str:
    """What stands in the way, and the nearest ways out."""
    ways = "; ".join(f"{item.change} ({item.effect})" for item in feasibility.alternatives)
    return feasibility.binding_constraint + (f". It would hold with: {ways}" if ways else "")


def _findings(resource: Resource, situation: Situation, progress: Rollout) -> tuple[Finding, ...]:
    stalled = _stall(resource, situation, progress)
    waiting = None if stalled else _progress(resource, situation, progress)
    if stalled is not None:
        reason, message = stalled
        main = (
            Finding(READY, status=False, reason=reason, message=message),
            Finding(RECONCILING, status=False, reason=reason, message=""),
            Finding(STALLED, status=True, reason=reason, message=message),
        )
    elif waiting is not None:
        reason, message = waiting
        main = (
            Finding(READY, status=False, reason=reason, message=message),
            Finding(RECONCILING, status=True, reason=reason, message=message),
            Finding(STALLED, status=False, reason=reason, message=""),
        )
    else:
        served = f"{resource.name} serves by this generation's plan"
        lacking = describe(situation.refusals)
        message = f"{served}; {lacking}" if lacking else served
        main = (
            Finding(READY, status=True, reason="Serving", message=message),
            Finding(RECONCILING, status=False, reason="Serving", message=""),
            Finding(STALLED, status=False, reason="Serving", message=""),
        )
    rest = (_feasible(situation.standing), _autoscaling(resource, situation, progress))
    return tuple(chain(main, (finding for finding in rest if finding is not None)))


def _stall(resource: Resource, situation: Situation, progress: Rollout) -> tuple[str, str] | None:
    """Reason and message where nothing moves on without a change from outside."""
    trouble, feasibility = situation.trouble, situation.standing.feasibility
    if trouble is not None:
        return trouble.reason, trouble.message + _still_serving(resource, progress)
    if situation.standing.plan is None:
        message = "no plan" if feasibility is None else describe_infeasible(feasibility)
        return "Infeasible", message + _still_serving(resource, progress)
    refused = lasting(situation.refusals)
    if not _short(resource, situation, progress):
        refused = tuple(refusal for refusal in refused if not refusal.action.only_scales)
    if refused:
        message = f"{describe(refused)}. {RETRIED}{_still_serving(resource, progress)}"
        return REFUSED, message
    if situation.pending:
        return None
    if progress.current and progress.deadline_exceeded:
        troubles = pod_troubles(situation.observed.pods) or "no pod became ready in time"
        return "ProgressDeadlineExceeded", troubles
    return None


def _still_serving(resource: Resource, progress: Rollout) -> str:
    if progress.ready == 0 or resource.status.plan is None:
        return ""
    return f". The earlier plan {resource.status.plan.summary} keeps serving"


def _progress(
    resource: Resource, situation: Situation, progress: Rollout
) -> tuple[str, str] | None:
    """Reason and message while this generation does not serve yet; None once it does."""
    if situation.pending:
        message = f"being applied: {', '.join(situation.pending)}"
        told = describe(situation.refusals)
        return "Applying", f"{message}; not taken yet: {told}" if told else message
    if not progress.current and not _was_ready(resource):
        return "RollingOut", "the Deployment's controller has not seen the newest rendering yet"
    if progress.failure:
        return "PodsRefused", f"pods cannot be created: {progress.failure}"
    if _short(resource, situation, progress):
        message = f"{progress.ready_updated} of {situation.replicas} replicas serve by this plan"
        troubles = pod_troubles(situation.observed.pods)
        return "RollingOut", f"{message}; {troubles}" if troubles else message
    return None


def _short(resource: Resource, situation: Situation, progress: Rollout) -> bool:
    """Whether fewer replicas serve by this plan than must.

    One that an autoscaler adds on top must not make what serves count as unready.
    """
    fewest = situation.replicas if resource.spec is None else resource.spec.scaling.min_replicas
    enough = min(fewest, situation.replicas)
    return progress.updated < progress.replicas or progress.ready_updated < enough


def _was_ready(resource: Resource) -> bool:
    """Whether this generation served: a new rendering would have ended that as it was applied."""
    ready = get_condition(resource.status.conditions, READY)
    return (
        ready is not None
        and ready.status == "True"
        and ready.observed_generation == resource.generation
    )


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
    if resource.spec.scaling.mode is ScalingMode.EXTERNAL:
        message = "spec.replicas decides, within minReplicas and maxReplicas"
        return Finding(AUTOSCALING_ACTIVE, status=False, reason="External", message=message)
    if situation.decision is None:
        message = "nothing runs that could be scaled"
        return Finding(AUTOSCALING_ACTIVE, status=False, reason="NotRunning", message=message)
    decision = situation.decision
    return Finding(
        AUTOSCALING_ACTIVE, status=decision.active, reason=decision.reason, message=decision.message
    )


def _with(
    status: LLMDeploymentStatus, generation: int, findings: tuple[Finding, ...], now: str
) -> LLMDeploymentStatus:
    conditions = status.conditions
    for finding in findings:
        conditions = set_condition(conditions, finding, generation, now)
    return status.model_copy(update={"conditions": conditions, "observed_generation": generation})

"""Ready, Reconciling and Stalled.

Ready is True exactly when this generation serves; Reconciling and Stalled are True only in their
case, so that tools which know only the conventions (kstatus) read progress and failure right.
"""

from plimsoll_operator.kube.refusal import REASON as REFUSED
from plimsoll_operator.kube.refusal import describe, lasting
from plimsoll_operator.observed import Rollout
from plimsoll_operator.plans.choice import PAUSED, ROLLED_BACK
from plimsoll_operator.render.revision import KIND as REVISION
from plimsoll_operator.resource import Resource
from plimsoll_operator.status.conditions import READY, RECONCILING, STALLED, Finding, get_condition
from plimsoll_operator.status.inputs import Situation, describe_infeasible, keeps_plan
from plimsoll_operator.status.pod_trouble import (
    UNSCHEDULABLE,
    PodTrouble,
    counted,
    downloading,
    no_room,
    pod_trouble,
    refused_pods,
)

_PAUSED = "rollouts are paused (spec.rollout.paused)"
_DOWNLOADS = "`kubectl logs POD --container download` tells how far it is"
RETRIED = "It is tried again at least once a minute, and at once after an edit"


def readiness(
    resource: Resource, situation: Situation, progress: Rollout
) -> tuple[Finding, Finding, Finding]:
    """Ready, Reconciling and Stalled."""
    stalled = _stall(resource, situation, progress)
    paused = None if stalled else _pause(resource, situation, progress)
    waiting = None if stalled or paused else _progress(resource, situation, progress)
    if stalled is not None:
        reason, message = stalled
        return (
            Finding(READY, status=False, reason=reason, message=message),
            Finding(RECONCILING, status=False, reason=reason, message=""),
            Finding(STALLED, status=True, reason=reason, message=message),
        )
    if paused is not None:
        return (
            Finding(READY, status=False, reason=PAUSED, message=paused),
            Finding(RECONCILING, status=False, reason=PAUSED, message=""),
            Finding(STALLED, status=False, reason=PAUSED, message=""),
        )
    if waiting is not None:
        reason, message = waiting
        return (
            Finding(READY, status=False, reason=reason, message=message),
            Finding(RECONCILING, status=True, reason=reason, message=message),
            Finding(STALLED, status=False, reason=reason, message=""),
        )
    served = f"{resource.name} serves by this generation's plan"
    missing = lacking(situation, progress)
    told = (
        describe(situation.refusals),
        "" if missing is None else missing.message,
        situation.limits.told(situation.standing.plan),
        _PAUSED if resource.spec is not None and resource.spec.rollout.paused else "",
    )
    message = "; ".join((served, *filter(None, told)))
    return (
        Finding(READY, status=True, reason="Serving", message=message),
        Finding(RECONCILING, status=False, reason="Serving", message=""),
        Finding(STALLED, status=False, reason="Serving", message=""),
    )


def _stall(resource: Resource, situation: Situation, progress: Rollout) -> tuple[str, str] | None:
    """Reason and message where nothing moves on without a change from outside."""
    trouble, standing = situation.trouble, situation.standing
    hold, feasibility = standing.hold, standing.feasibility
    if trouble is not None:
        return trouble.reason, trouble.message + _still_serving(resource, progress)
    if hold is not None and hold.reason == ROLLED_BACK:
        return ROLLED_BACK, f"{hold.message}. Meanwhile {_state(situation, progress)}"
    if hold is None and standing.plan is None:
        message = "no plan" if feasibility is None else describe_infeasible(feasibility)
        return "Infeasible", message + _still_serving(resource, progress)
    return _refused(resource, situation, progress) or _timed_out(resource, situation, progress)


def _refused(resource: Resource, situation: Situation, progress: Rollout) -> tuple[str, str] | None:
    """The same where the API server refuses for good what should be done."""
    refused = lasting(situation.refusals)
    if not _short(resource, situation, progress):
        refused = tuple(refusal for refusal in refused if not refusal.action.only_scales)
    if refused:
        message = f"{describe(refused)}. {RETRIED}"
        if keeps_plan(resource, situation, progress):
            message += _still_serving(resource, progress)
        return REFUSED, message
    return None


def _timed_out(
    resource: Resource, situation: Situation, progress: Rollout
) -> tuple[str, str] | None:
    """The same where pods have not become ready in time."""
    if situation.pending or not (progress.current and progress.deadline_exceeded):
        return None
    missing = lacking(situation, progress)
    why = "no pod became ready in time" if missing is None else missing.message
    stays = _no_way_back(resource, situation)
    return "ProgressDeadlineExceeded", f"{_serving(situation, progress)}; {why}{stays}"


def _no_way_back(resource: Resource, situation: Situation) -> str:
    """Why a rollout that has failed is not rolled back."""
    served = resource.status.served
    if served is None:
        return ". No revision has served before, so there is none to roll back to"
    if served.revision == situation.standing.revision(resource.name):
        return ""
    if resource.spec is not None and resource.spec.rollout.paused:
        return f". {_PAUSED}"
    if (REVISION, served.revision) in situation.observed.children:
        return ""
    return f". Revision {served.revision} served before, and is gone"


def _state(situation: Situation, progress: Rollout) -> str:
    """How far what is in force is, in a few words."""
    missing = lacking(situation, progress)
    said = (
        _serving(situation, progress),
        describe(situation.refusals),
        "" if missing is None else missing.message,
    )
    return "; ".join(filter(None, said))


def _pause(resource: Resource, situation: Situation, progress: Rollout) -> str | None:
    """What to say of a pause that keeps this generation from serving; None where it does not."""
    hold = situation.standing.hold
    if hold is not None:
        if situation.standing.plan is None:
            return hold.message
        return f"{hold.message}. Meanwhile {_state(situation, progress)}"
    if resource.frozen and _short(resource, situation, progress):
        return f"{_PAUSED}; {_state(situation, progress)}"
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
    if _short(resource, situation, progress):
        message, missing = _serving(situation, progress), lacking(situation, progress)
        if missing is not None:
            way_out = way_to_room(resource, situation, progress)
            return missing.reason, f"{message}; {missing.message}{way_out}"
        count = downloading(situation.observed.pods, situation.started)
        if count:
            downloads = f"the model is being downloaded for {counted(count)}: {_DOWNLOADS}"
            return "Downloading", f"{message}; {downloads}"
        return "RollingOut", message
    changing = "" if _was_ready(resource) else _limits_lacking(resource, situation)
    return ("ChangingLimits", changing) if changing else None


def _limits_lacking(resource: Resource, situation: Situation) -> str:
    """What is lacking until the plan's limits are in force; empty where nothing is.

    Limits that are sent leave the Deployment's status as it is, so engines must have answered.
    """
    plan, limits = situation.standing.plan, situation.limits
    if limits.lacking or plan is None or situation.started == plan.revision:
        return limits.told(plan)
    heard = 0 if limits.status is None else limits.status.replicas
    fewest = _fewest(resource, situation)
    if heard >= fewest:
        return ""
    return f"{heard} of {fewest} replicas have said that they run under the plan's limits"


def _serving(situation: Situation, progress: Rollout) -> str:
    which = "this plan" if situation.standing.hold is None else "the plan in force"
    return f"{progress.ready_updated} of {situation.replicas} replicas serve by {which}"


def lacking(situation: Situation, progress: Rollout) -> PodTrouble | None:
    """What keeps replicas from serving, as far as the cluster says it; None where all serve."""
    if progress.ready_updated >= situation.replicas:
        return None
    trouble = pod_trouble(situation.pods, situation.started)
    shortage = situation.observed.shortage
    if trouble is not None and shortage and trouble.reason == UNSCHEDULABLE:
        trouble = PodTrouble(trouble.reason, f"{trouble.message}; {shortage}")
    if not progress.failure:
        return trouble
    refused = refused_pods(situation.replicas - progress.replicas, progress.failure)
    if trouble is None:
        return refused
    return PodTrouble(refused.reason, f"{refused.message}; {trouble.message}")


def way_to_room(resource: Resource, situation: Situation, progress: Rollout) -> str:
    """What to set where a new replica finds no room beside those that serve; else nothing."""
    spec = resource.spec
    if spec is None or spec.rollout.max_unavailable or progress.updated >= progress.replicas:
        return ""
    if not no_room(situation.pods, situation.started):
        return ""
    return ". With spec.rollout.maxUnavailable replicas may end before new ones serve"


def _short(resource: Resource, situation: Situation, progress: Rollout) -> bool:
    """Whether fewer replicas serve by this plan than must.

    One that an autoscaler adds on top must not make what serves count as unready.
    """
    enough = _fewest(resource, situation)
    return progress.updated < progress.replicas or progress.ready_updated < enough


def _fewest(resource: Resource, situation: Situation) -> int:
    """Replicas that must serve for the resource to be ready."""
    fewest = situation.replicas if resource.spec is None else resource.spec.scaling.min_replicas
    return min(fewest, situation.replicas)


def _was_ready(resource: Resource) -> bool:
    """Whether this generation served: a new rendering would have ended that as it was applied."""
    ready = get_condition(resource.status.conditions, READY)
    return (
        ready is not None
        and ready.status == "True"
        and ready.observed_generation == resource.generation
    )

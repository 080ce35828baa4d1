"""An earlier revision in force instead of the spec: pure, from the status and what was kept."""

from dataclasses import replace

from plimsoll_operator.api.status import Feasibility, PlanStatus
from plimsoll_operator.plans.choice import FOLLOWED, PAUSED, ROLLED_BACK, Hold, Standing, Trouble
from plimsoll_operator.resource import Resource
from plimsoll_operator.revisions.kept_plan import KeptPlan
from plimsoll_operator.revisions.record import RecordError, spec_of
from plimsoll_operator.rollouts.rollback import in_force
from plimsoll_operator.status.inputs import describe_infeasible


def after_rollback(resource: Resource) -> Hold | None:
    """The hold that a rollback of this spec means; None where there is none."""
    found = in_force(resource)
    if found is None:
        return None
    rollback, served = found
    message = (
        f"generation {rollback.generation} ({rollback.failed_revision}) was rolled back to "
        f"{served.revision}, which served before: {rollback.message}. It is tried again when the "
        "spec is edited"
    )
    return Hold(ROLLED_BACK, message, served.revision)


def while_paused(resource: Resource, planned: Standing) -> Hold | None:
    """The hold that `spec.rollout.paused` means where `planned` is another revision than is in
    force; None where it is not set, or nothing waits."""
    spec, current = resource.spec, resource.status.current_revision
    if spec is None or not spec.rollout.paused:
        return None
    if planned.plan is not None and planned.revision(resource.name) == current:
        return None
    if planned.trouble is not None:
        waits = planned.trouble.message
    elif planned.plan is None:
        feasibility = planned.feasibility
        waits = "no plan" if feasibility is None else describe_infeasible(feasibility)
    else:
        waits = f"the plan {planned.plan.summary} waits"
    message = f"rollouts are paused (spec.rollout.paused); {waits}"
    return Hold(PAUSED, message, current or "")


def held(
    resource: Resource, hold: Hold, kept: KeptPlan | None, started: KeptPlan | None
) -> tuple[Resource, Standing]:
    """The resource as it was when `kept` was in force, and that plan.

    Bounds of scaling and who may call are as they are now. `started` is what pods of it were
    started by. Where a revision is lost or cannot be read nothing is applied.
    """
    spec = resource.spec
    if spec is None or not hold.revision:
        return resource, Standing(hold=hold)
    try:
        if kept is None:
            raise RecordError(f"ControllerRevision {hold.revision} is gone")  # noqa: TRY301
        plan, inputs, before = kept.plan, kept.inputs, spec_of(kept.inputs)
        first = None if started is None else started.plan
        rendering = kept.rendering
    except RecordError as error:
        message = f"{hold.message}. But what was in force cannot be kept up: {error}"
        return resource, Standing(trouble=Trouble("RevisionLost", message), hold=hold)
    generation = inputs.get("generation")
    hold = replace(
        hold,
        generation=generation if isinstance(generation, int) else None,
        started=None
        if first is None or first.revision == plan.revision
        else _started_by(first, plan),
        rendering=rendering,
    )
    then = before.model_copy(update={name: getattr(spec, name) for name in FOLLOWED})
    standing = Standing(
        plan=plan,
        inputs=str(inputs.get("hash", "")),
        feasibility=None if _feasible(resource, hold) else _missed(plan),
        hold=hold,
    )
    return replace(resource, spec=then), standing


def _started_by(started: PlanStatus, plan: PlanStatus) -> PlanStatus:
    """`plan` for pods that were started by `started`, whose limits are the most they can take."""
    fixed = ("revision", "max_num_seqs", "max_num_batched_tokens", "kv_cache_bytes", "memory_bytes")
    return plan.model_copy(update={name: getattr(started, name) for name in fixed})


def _feasible(resource: Resource, hold: Hold) -> bool:
    status = resource.status
    if status.served is not None and status.served.revision == hold.revision:
        return status.served.feasible
    return bool(status.plan_feasible)


def _missed(plan: PlanStatus) -> Feasibility:
    return Feasibility(binding_constraint=plan.binding_constraint)

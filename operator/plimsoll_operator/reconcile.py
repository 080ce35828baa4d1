"""What to do for one resource: a pure function from what is wanted and observed to actions.

The outcome depends on nothing else, so that doing it twice, or after a crash anywhere in between,
leads to the same end.
"""

from dataclasses import dataclass
from typing import Any

from plimsoll_operator.actions import Action, Apply, Delete
from plimsoll_operator.api.spec import LLMDeploymentSpec, ScalingMode
from plimsoll_operator.api.status import MeasuredCalibration, PlanStatus, ScalingDecision
from plimsoll_operator.calibration.measured import told
from plimsoll_operator.difference import difference
from plimsoll_operator.kube.refusal import Refusal
from plimsoll_operator.observed import Observed, belongs, owned_by, terminating
from plimsoll_operator.plans.choice import Standing, Trouble
from plimsoll_operator.plans.drift import NO_NEWS, Drift
from plimsoll_operator.render.children import ChildKey, child_keys, children, key_of
from plimsoll_operator.render.deployment import in_place
from plimsoll_operator.render.revision import KIND as REVISION
from plimsoll_operator.resource import Resource, dump_status
from plimsoll_operator.revisions.history import revision_actions
from plimsoll_operator.rollouts.live_limits import NO_REPORT, LimitsReport
from plimsoll_operator.rollouts.pod_source import PodSource
from plimsoll_operator.rollouts.rollback import decide
from plimsoll_operator.rollouts.strategy import goes_in_place, rolls_in_place
from plimsoll_operator.scaling.autoscale import Decision
from plimsoll_operator.scaling.record import kept, record
from plimsoll_operator.scaling.victims import Step
from plimsoll_operator.status.events import Event, events_between, scaled
from plimsoll_operator.status.inputs import Situation
from plimsoll_operator.status.new_status import new_status

RETRY_TRANSIENT_SECONDS = 30.0
"""Trouble of another kind waits for an edit, or for the look that every resource gets at times."""


@dataclass(frozen=True)
class Outcome:
    """`status` is the whole new status, or None to write none; `requeue_after` in seconds.

    `scale` is what spec.replicas should begin with where an autoscaler outside decides and none has
    asked yet: the API server serves no /scale, and an HPA never begins, without that field.
    """

    actions: tuple[Action, ...] = ()
    status: dict[str, Any] | None = None
    events: tuple[Event, ...] = ()
    scale: int | None = None
    requeue_after: float | None = None

    @property
    def creates(self) -> bool:
        """Whether a child is made that does not exist yet."""
        return any(isinstance(action, Apply) and not action.because for action in self.actions)


@dataclass(frozen=True)
class Desired:
    """What should be. `pods` is what they are made from, as `choose_source` says it, or None where
    nothing is to be applied; `decision` is the autoscaler's, or None where it does not decide;
    `drift` is what there is to say of how the plan fits what is measured, `calibration` what
    engines' steps gave last, `limits` what is to be said of those in force; `step` the next one to
    the replicas that are wanted, or None for all at once."""

    resource: Resource
    standing: Standing
    pods: PodSource | None
    decision: Decision | None = None
    drift: Drift = NO_NEWS
    calibration: MeasuredCalibration | None = None
    limits: LimitsReport = NO_REPORT
    step: Step | None = None


def reconcile(
    desired: Desired, observed: Observed, now: str, refusals: tuple[Refusal, ...] = ()
) -> Outcome:
    """Actions, status and events for one resource.

    `now` is an RFC 3339 time that conditions take when they change. The status is None when it
    would stay the same. Once actions were tried, `refusals` are the API server's answers to those
    that it did not carry out, and the status says them.
    """
    resource, standing = desired.resource, desired.standing
    if resource.deleting:
        return Outcome()
    trouble = standing.trouble
    actions: tuple[Action, ...] = ()
    events: tuple[Event, ...] = ()
    done: tuple[Action, ...] = ()
    replicas = wanted = 0
    scale: int | None = None
    pods, started = desired.pods, standing.plan
    if resource.spec is not None and standing.plan is not None and pods is not None:
        wanted = wanted_replicas(desired, resource.spec, standing.plan, observed)
        replicas = wanted if desired.step is None else desired.step.replicas
        trouble = foreign_children(resource, standing, observed)
        if trouble is None:
            started = pods.plan
            how = rolls_in_place(resource, resource.spec, pods.plan.revision, observed, now)
            if how is not None:
                replicas = min(replicas, how.most)
            ours = children(resource, resource.spec, pods.plan, pods.rendering, replicas)
            if how is not None:
                ours = (*ours[:-1], in_place(ours[-1], how.unavailable))
            limit = resource.spec.revision_history_limit
            revisions = revision_actions(resource, standing, pods.rendering, observed, limit)
            actions = (*revisions, *_actions(resource, ours, observed))
            refused = {refusal.action.key for refusal in refusals}
            done = tuple(action for action in actions if action.key not in refused)
            events = _scaling(desired.decision, replicas, done, observed)
            if _nobody_has_asked(resource.spec):
                scale = replicas
    situation = Situation(
        standing=standing,
        trouble=trouble,
        decision=desired.decision,
        observed=observed,
        replicas=replicas,
        drift=desired.drift,
        calibration=told(resource, desired.calibration),
        started=None if started is None else started.revision,
        limits=desired.limits,
        draining=() if desired.step is None else desired.step.victims,
        pending=tuple(
            " ".join(action.key)
            for action in actions
            if not action.only_scales and action.key[0] != REVISION
        ),
        refusals=tuple(refusal for refusal in refusals if refusal.telling),
    )
    rollback = decide(resource, situation)
    if rollback is None:
        status = new_status(resource, situation, now)
    else:  # before anything is done about it; the next look does
        status = resource.status.model_copy(update={"rollback": rollback})
    made = _decided(desired, wanted, replicas, done, now)
    if made is not None:
        status = status.model_copy(update={"scaling": kept(status.scaling, made)})
    changed = dump_status(status) != dump_status(resource.status)
    if changed:
        events += events_between(resource.status, status, resource.generation)
    return Outcome(
        actions=actions,
        status=dump_status(status) if changed else None,
        events=events,
        scale=scale,
        requeue_after=0.0 if rollback is not None else _pause(trouble),
    )


def _pause(trouble: Trouble | None) -> float | None:
    return RETRY_TRANSIENT_SECONDS if trouble is not None and trouble.transient else None


def wanted_replicas(
    desired: Desired, spec: LLMDeploymentSpec, plan: PlanStatus, observed: Observed
) -> int:
    """Replicas to ask for, always between minReplicas and maxReplicas.

    A resource starts with what the plan needs. From then on the autoscaler decides, except that a
    new plan starts with at least what it needs itself, which a rollout in place puts off to its
    end. An autoscaler outside takes over at the number that runs.
    """
    resource, decision = desired.resource, desired.decision
    low, high = spec.scaling.min_replicas, spec.scaling.max_replicas
    if spec.scaling.mode is ScalingMode.EXTERNAL and spec.replicas is not None:
        wanted = spec.replicas
    else:
        deployment = observed.children.get(("Deployment", resource.name))
        if deployment is None or not belongs(deployment, resource.name, resource.uid):
            wanted = plan.replicas
        else:
            wanted = int(deployment.get("spec", {}).get("replicas", plan.replicas))
            if decision is not None:
                wanted = decision.replicas
            before = resource.status.plan
            if before is None or before.replicas != plan.replicas or goes_in_place(deployment):
                wanted = max(wanted, plan.replicas)
    return max(low, min(high, wanted))


def _nobody_has_asked(spec: LLMDeploymentSpec) -> bool:
    return spec.scaling.mode is ScalingMode.EXTERNAL and spec.replicas is None


def foreign_children(resource: Resource, standing: Standing, observed: Observed) -> Trouble | None:
    """Objects that stand where children belong but are not ours; they are never touched.

    What has lost its owner is ours again.
    """
    ours = keys_of(resource.name, standing)
    foreign = sorted(
        f"{kind} {name}"
        for (kind, name), child in observed.children.items()
        if (kind, name) in ours and not belongs(child, resource.name, resource.uid)
    )
    if not foreign:
        return None
    return Trouble(
        reason="NameTaken",
        message=f"{', '.join(foreign)} in namespace {resource.namespace} belongs to someone else: "
        "delete it or rename this LLMDeployment",
    )


def keys_of(name: str, standing: Standing) -> tuple[ChildKey, ...]:
    """Kinds and names of all that the resource `name` has while `standing` is in force."""
    revision = standing.revision(name)
    return child_keys(name) if revision is None else (*child_keys(name), (REVISION, revision))


def _actions(
    resource: Resource, wanted: tuple[dict[str, Any], ...], observed: Observed
) -> tuple[Action, ...]:
    actions: list[Action] = []
    for child in wanted:
        existing = observed.children.get(key_of(child))
        if existing is None:
            actions.append(Apply(child))
            continue
        where = difference(child, existing)
        # An object on its way out cannot be mended; its end wakes us and it is made anew.
        if where is not None and not terminating(existing):
            actions.append(Apply(child, because=where))
    keys = {key_of(child) for child in wanted}
    for key, existing in sorted(observed.children.items()):
        if key not in keys and key[0] != REVISION and owned_by(existing, resource.uid):
            actions.append(Delete(key, str(existing["metadata"]["uid"])))
    return tuple(actions)


def _scaling(
    decision: Decision | None, replicas: int, actions: tuple[Action, ...], observed: Observed
) -> tuple[Event, ...]:
    """The event for a change of replicas alone, which the status does not show."""
    for action in actions:
        if decision is not None and action.only_scales:
            before = int(observed.children[action.key]["spec"]["replicas"])
            return (scaled(before, replicas, decision.figures or decision.message),)
    return ()


def _decided(
    desired: Desired, wanted: int, replicas: int, actions: tuple[Action, ...], now: str
) -> ScalingDecision | None:
    """What to keep of a decision that changes the count of replicas."""
    decision = desired.decision
    if decision is None or decision.basis is None:
        return None
    if decision.replicas != wanted or not any(action.only_scales for action in actions):
        return None
    return record(decision.basis, wanted, now, None if replicas == wanted else replicas)

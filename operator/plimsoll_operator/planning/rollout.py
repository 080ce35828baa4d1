"""What the operator would do to running pods after an edit: asked of its own reconciler."""

from dataclasses import dataclass, replace
from typing import Any

from plimsoll_operator.actions import Apply
from plimsoll_operator.api.spec import ScalingMode
from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.observed import Observed
from plimsoll_operator.planning.bundle import Declared
from plimsoll_operator.plans.choice import Standing
from plimsoll_operator.reconcile import Desired, reconcile
from plimsoll_operator.render.children import children, key_of
from plimsoll_operator.render.labels import PLAN_LABEL
from plimsoll_operator.render.rendering import Rendering
from plimsoll_operator.rollouts.pod_source import choose_source

_RENDERING = Rendering("the-same-on-both-sides")
_ROLLED_OUT = {"conditions": [{"type": "Progressing", "reason": "NewReplicaSetAvailable"}]}


@dataclass(frozen=True)
class Rollout:
    """`restarts` is whether engine pods are replaced; `text` says in a sentence what happens."""

    restarts: bool
    text: str


@dataclass(frozen=True)
class Running:
    """What runs before the edit: a plan with so many replicas."""

    declared: Declared
    plan: PlanStatus
    replicas: int


def rollout(before: Running | None, after: Declared, standing: Standing) -> Rollout:
    """What follows from applying `after`, for which `standing` is the plan in force."""
    plan = standing.plan
    if plan is None:
        cause = standing.trouble.message if standing.trouble else "its SLO cannot hold"
        stays = "no pod is started" if before is None else "what runs stays as it is"
        return Rollout(restarts=False, text=f"{stays}: {cause}")
    if before is None:
        return Rollout(restarts=False, text=f"starts {_pods(plan.replicas)}")
    old, new = _deployments(before, after, standing)
    count = before.replicas if new is None else int(new["spec"]["replicas"])
    if new is not None and new["spec"]["template"] != old["spec"]["template"]:
        text = f"replaces {_pods(before.replicas)}: each ends after a new one serves"
        more = "" if count == before.replicas else f"; {count} in the end"
        return Rollout(restarts=True, text=text + more)
    text = _scaling(before.replicas, count, plan, after)
    if old["spec"]["template"]["metadata"]["labels"][PLAN_LABEL] != plan.revision:
        text += "; running pods take the new limits as they serve"
    return Rollout(restarts=False, text=text)


def removal(before: Running | None) -> Rollout:
    """What follows from deleting it."""
    text = "no pod runs" if before is None else f"drains and ends {_pods(before.replicas)}"
    return Rollout(restarts=False, text=text)


def _deployments(
    before: Running, after: Declared, standing: Standing
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The Deployment as it runs, and as it would be applied; None where it stays."""
    there = before.declared.resource
    made = children(there, before.declared.spec, before.plan, _RENDERING, before.replicas)
    running = {key_of(child): child for child in made}
    running["Deployment", there.name]["status"] = _ROLLED_OUT
    status = there.status.model_copy(update={"plan": before.plan})
    resource = replace(there, spec=after.spec, invalid="", status=status)
    observed = Observed(running)
    pods = choose_source(resource, standing, _RENDERING, observed)
    outcome = reconcile(Desired(resource, standing, pods), observed, now="")
    key = ("Deployment", there.name)
    applied = (
        action.child
        for action in outcome.actions
        if isinstance(action, Apply) and action.key == key
    )
    return running[key], next(applied, None)


def _scaling(before: int, after: int, plan: PlanStatus, declared: Declared) -> str:
    if after > before:
        return f"starts {_pods(after - before, 'more ')}, none restarts"
    if after < before:
        return f"ends {_pods(before - after)}, none restarts"
    if plan.replicas < before and declared.spec.scaling.mode is ScalingMode.AUTOMATIC:
        fewer = before - plan.replicas
        return f"no pod restarts; the autoscaler lets {fewer} go once the queue allows"
    return "no pod restarts"


def _pods(count: int, more: str = "") -> str:
    return f"{count} {more}engine pod" + ("" if count == 1 else "s")

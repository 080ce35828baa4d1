"""Which revisions of a resource's plans there should be: pure, from what is observed."""

from collections.abc import Mapping
from typing import Any

from plimsoll_operator.actions import Action, Apply, Delete, Renumber
from plimsoll_operator.observed import Observed, belongs, orphaned, terminating
from plimsoll_operator.plans.choice import Standing
from plimsoll_operator.render.labels import PLAN_LABEL
from plimsoll_operator.render.rendering import Rendering
from plimsoll_operator.render.revision import KIND, Sources, revision
from plimsoll_operator.resource import Resource

Object = Mapping[str, Any]


def revision_actions(
    resource: Resource,
    standing: Standing,
    rendering: Rendering,
    observed: Observed,
    limit: int,
) -> tuple[Action, ...]:
    """Keeps the plan in force as the newest revision, and `limit` earlier ones.

    A new one says by which `rendering` its pods are made, so that going back to it restores them.
    Those that have lost their owner are taken on. Of the others the oldest go, but never the newest
    of a plan that a pod still runs by, nor the one that served last, which a rollout that fails
    goes back to. Without a record a plan that has no revision yet gets none now; the next look
    brings one.
    """
    plan, name = standing.plan, standing.revision(resource.name)
    if plan is None or name is None:
        return ()
    known = [
        item
        for (kind, _), item in observed.children.items()
        if kind == KIND and belongs(item, resource.name, resource.uid)
    ]
    known.sort(key=_number)
    current = next((item for item in known if _name(item) == name), None)
    earlier = [item for item in known if _name(item) != name]
    newest = max(map(_number, earlier), default=0)
    actions: list[Action] = []
    if current is None:
        if standing.record is not None:
            inputs = {"hash": standing.inputs, **standing.record}
            made = revision(resource, name, plan, Sources(inputs, rendering), newest + 1)
            actions.append(Apply(made))
    elif _number(current) <= newest and not terminating(current):
        actions.append(_taken(resource, current, newest + 1))
    elif orphaned(current, resource.name):
        actions.append(_taken(resource, current, _number(current)))
    newest_of_plan = {_plan(item): _name(item) for item in earlier}
    served = resource.status.served
    kept = {
        # While a new Deployment is refused, the plan of the status is still in force.
        resource.status.current_revision,
        None if served is None else served.revision,
        *(newest_of_plan.get(_plan(pod)) for pod in observed.pods),
    }
    rest = [item for item in earlier if _name(item) not in kept]
    surplus = rest[: max(0, len(rest) - limit)]
    actions += [
        _taken(resource, item, _number(item))
        for item in earlier
        if item not in surplus and orphaned(item, resource.name)
    ]
    actions += [
        Delete((KIND, _name(item)), _uid(item)) for item in surplus if not terminating(item)
    ]
    return tuple(actions)


def _taken(resource: Resource, item: Object, number: int) -> Renumber:
    """With that number, and by this resource if by none."""
    owner = resource.reference() if orphaned(item, resource.name) else None
    return Renumber((KIND, _name(item)), _uid(item), number, owner)


def _number(item: Object) -> int:
    return int(item.get("revision", 0))


def _name(item: Object) -> str:
    return str(item["metadata"]["name"])


def _uid(item: Object) -> str:
    return str(item["metadata"]["uid"])


def _plan(item: Object) -> str:
    return str((item["metadata"].get("labels") or {}).get(PLAN_LABEL, ""))

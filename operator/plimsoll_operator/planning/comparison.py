"""What changes between two bundles: plans, costs, promises, and what that does to running pods."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec, WhenInfeasible
from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.planning.bundle import Bundle, Declared
from plimsoll_operator.planning.checks import Check, failed_promises
from plimsoll_operator.planning.inventory import Inventory
from plimsoll_operator.planning.offline import Planned, plan_bundle
from plimsoll_operator.planning.rollout import Rollout, Running, removal, rollout
from plimsoll_operator.planning.status import feasibility, plan_status
from plimsoll_operator.plans.choice import Standing, inputs_hash, standing, within_engine
from plimsoll_operator.resource import Key, Resource
from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.inputs import AcceleratorPool
from plimsoll_planner.search.products import price_per_hour


class Kind(StrEnum):
    """What became of an LLMDeployment."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REMOVED = "removed"


@dataclass(frozen=True)
class Difference:
    """A field whose value differs; None where it is absent on that side."""

    field: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Change:
    """One LLMDeployment before and after. Costs are per hour at the planned replicas, 0 where
    nothing runs and None where a price is unknown.

    `declared` are fields of the spec, `planned` those of `status.plan`; `plan` sums up the newest
    plan in force. `problem` says why the new promise cannot hold.
    """

    title: str
    kind: Kind
    plan: str
    declared: tuple[Difference, ...]
    planned: tuple[Difference, ...]
    old_cost: float | None
    new_cost: float | None
    rollout: Rollout
    problem: str
    failed: frozenset[Check]


@dataclass(frozen=True)
class Side:
    """An LLMDeployment and the plan that is in force for it."""

    declared: Declared
    standing: Standing


@dataclass(frozen=True)
class Prices:
    """What accelerators cost: by the nodes, else by the Accelerators of either side."""

    inventory: tuple[AcceleratorPool, ...]
    before: tuple[Accelerator, ...]
    after: tuple[Accelerator, ...]

    def old(self, plan: PlanStatus | None) -> float | None:
        """Per hour, of a plan of the old side."""
        return _cost(plan, self.inventory, self.before)

    def new(self, plan: PlanStatus | None) -> float | None:
        """Per hour, of a plan of the new side."""
        return _cost(plan, self.inventory, self.after)


def compare(
    old: Bundle,
    new: Bundle,
    inventory: Inventory,
    model_directory: Path | None = None,
    trial_requests: int = 0,
) -> list[Change]:
    """A change for every LLMDeployment of either bundle, in the order of the new one.

    Where the old one has a plan in its status, that is what runs; else what the operator would
    have planned. Raises BundleError.
    """
    stated = tuple(item for item in old.deployments if item.resource.status.plan is not None)
    rest = tuple(item for item in old.deployments if item.resource.status.plan is None)
    before = {
        item.resource.key: Side(item, Standing(plan=item.resource.status.plan)) for item in stated
    }
    unstated = replace(old, deployments=rest)
    for planned in plan_bundle(unstated, inventory, model_directory, trial_requests=trial_requests):
        resource = planned.declared.resource
        before[resource.key] = Side(planned.declared, _standing(resource, planned))
    prices = Prices(inventory.pools(), old.accelerators, new.accelerators)
    changes = []
    # What engines of the old side have measured, as the operator would plan with it.
    measured = [side.declared.resource.status.calibration for side in before.values()]
    for planned in plan_bundle(
        new, inventory, model_directory, measured, trial_requests=trial_requests
    ):
        key = _counterpart(planned.declared, before)
        changes.append(_change(before.pop(key) if key else None, planned, prices))
    return changes + [_removed(side, prices) for side in before.values()]


def total(costs: Iterable[float | None]) -> float | None:
    """Their sum; None where one is unknown."""
    known = list(costs)
    return None if None in known else sum(cost for cost in known if cost is not None)


def costs_more(changes: Iterable[Change]) -> bool:
    """Whether all of them together cost more than before, or that cannot be said."""
    touched = [change for change in changes if change.kind is not Kind.UNCHANGED]
    before, after = (
        total(cost) for cost in ([c.old_cost for c in touched], [c.new_cost for c in touched])
    )
    return before is None or after is None or after > before + 1e-9


def _counterpart(declared: Declared, before: Mapping[Key, Side]) -> Key | None:
    """The same namespace and name; or the only one of that name where a side has no namespace."""
    if declared.resource.key in before:
        return declared.resource.key
    alike = [
        key
        for key, side in before.items()
        if key[1] == declared.resource.name and not (side.declared.namespace and declared.namespace)
    ]
    return alike[0] if len(alike) == 1 else None


def _standing(resource: Resource, planned: Planned) -> Standing:
    best_effort = planned.declared.spec.slo.when_infeasible is WhenInfeasible.BEST_EFFORT
    answer = standing(
        resource,
        inputs_hash(planned.request),
        plan_status(planned.result),
        feasibility(planned.result),
        best_effort=best_effort,
    )
    return within_engine(answer, planned.unserved)


def _change(side: Side | None, planned: Planned, prices: Prices) -> Change:
    declared, result = planned.declared, planned.result
    running = _running(side)
    resource = declared.resource
    if side is not None and running is not None:
        known = side.declared.resource.status
        # As the operator would have it: a plan stands while what it was made from is the same.
        if known.plan is None:
            known = known.model_copy(
                update={
                    "plan": running.plan,
                    "plan_inputs": side.standing.inputs,
                    "plan_feasible": side.standing.feasibility is None,
                }
            )
        resource = replace(resource, status=known)
    after = _standing(resource, planned)
    old_plan = None if running is None else running.plan
    fields = tuple(differences(plan_fields(old_plan), plan_fields(after.plan)))
    spec = None if side is None else side.declared.spec
    edits = tuple(differences(spec_fields(spec), spec_fields(declared.spec))) if spec else ()
    follows = rollout(running, declared, after)
    old_cost, new_cost = prices.old(old_plan), prices.new(after.plan)
    if after.plan is None:  # what runs stays
        new_cost = old_cost
        fields = ()
    kind = Kind.CHANGED if fields or edits else Kind.UNCHANGED
    restart = {Check.RESTART} if follows.restarts else set()
    kept = after.plan is not None and after.feasibility is None
    return Change(
        title=declared.title,
        kind=Kind.ADDED if side is None else kind,
        plan=_summary(after.plan or old_plan),
        declared=edits,
        planned=fields,
        old_cost=old_cost,
        new_cost=new_cost,
        rollout=follows,
        problem="" if kept or result.feasible else result.binding_constraint,
        failed=frozenset(restart | (set() if kept else failed_promises([result]))),
    )


def _removed(side: Side, prices: Prices) -> Change:
    running = _running(side)
    plan = None if running is None else running.plan
    return Change(
        title=side.declared.title,
        kind=Kind.REMOVED,
        plan=_summary(plan),
        declared=(),
        planned=tuple(differences(plan_fields(plan), {})),
        old_cost=prices.old(plan),
        new_cost=0.0,
        rollout=removal(running),
        problem="",
        failed=frozenset(),
    )


def _running(side: Side | None) -> Running | None:
    if side is None or side.standing.plan is None:
        return None
    plan = side.standing.plan
    replicas = side.declared.resource.status.replicas or plan.replicas
    return Running(side.declared, plan, replicas)


def _cost(
    plan: PlanStatus | None,
    inventory: tuple[AcceleratorPool, ...],
    accelerators: tuple[Accelerator, ...],
) -> float | None:
    if plan is None:
        return 0.0
    price = price_per_hour(plan.accelerator, inventory, accelerators)
    if price is None:
        return None
    return (
        price
        * float(plan.cpu_cores or plan.tensor_parallel_size * plan.pipeline_parallel_size)
        * plan.replicas
    )


def _summary(plan: PlanStatus | None) -> str:
    if plan is None:
        return "none"
    predicted = plan.predicted
    return (
        f"{plan.replicas} × {plan.summary}, TTFT p95 {predicted.time_to_first_token.p95}, "
        f"TPOT p95 {predicted.time_per_output_token.p95}"
    )


def plan_fields(plan: PlanStatus | None) -> dict[str, str]:
    """The fields of a plan that people compare, in their order."""
    if plan is None:
        return {}
    fields = {
        "accelerator": plan.accelerator,
        "cpuCores": plan.cpu_cores,
        "tensorParallelSize": plan.tensor_parallel_size,
        "weights": plan.precision.weights,
        "kvCache": plan.precision.kv_cache,
        "replicas": plan.replicas,
        "maxNumSeqs": plan.max_num_seqs,
        "maxNumBatchedTokens": plan.max_num_batched_tokens,
        "maxModelLen": plan.max_model_len,
        "kvCacheTokens": plan.kv_cache_tokens,
        "TTFT p95": plan.predicted.time_to_first_token.p95,
        "TPOT p95": plan.predicted.time_per_output_token.p95,
        "req/s per replica": plan.predicted.requests_per_second_per_replica,
        "cost per 1M output": plan.predicted.cost_per_million_tokens,
        "trace": None if plan.trace is None else plan.trace.hash,
    }
    return {name: str(value) for name, value in fields.items() if value is not None}


def spec_fields(spec: LLMDeploymentSpec) -> dict[str, str]:
    """Every field of a spec by its path, such as `slo.timeToFirstToken.p95`."""
    return dict(_flat(spec.model_dump(mode="json", by_alias=True, exclude_none=True)))


def _flat(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flat(value, f"{path}.{key}" if path else key)
    elif isinstance(node, list):
        yield path, f"[{', '.join(map(str, node))}]"
    else:
        yield path, str(node)


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Difference]:
    """Fields that differ, in the order of `old`, then of `new`."""
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name):
            yield Difference(name, old.get(name), new.get(name))

"""Whether a plan that was in force before, for the very same inputs, is so again: pure.

An edit that is taken back gives back what ran before: figures that were measured meanwhile would
give another plan for the same spec, and roll pods of which nobody has changed anything.
"""

import math

from plimsoll_operator.api.spec import LLMDeploymentSpec, WhenInfeasible
from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.extended_resources import GPU
from plimsoll_operator.planning.inventory import CPU
from plimsoll_operator.revisions.kept_plan import KeptPlan
from plimsoll_operator.revisions.record import RecordError, Sources, record
from plimsoll_planner.inputs import AcceleratorPool

_KNOWLEDGE = ("accelerators", "planner")
"""What plans follow from besides their inputs, and what was measured: the Accelerators, and the
planner with its catalogue."""


def reinstated(kept: KeptPlan, sources: Sources) -> PlanStatus | None:
    """The kept plan, made for inputs that hash like those of `sources`; None to plan anew.

    It met its SLO, what is known of accelerators is the same, and nodes have room for it. What this
    version cannot read is planned anew.
    """
    try:
        plan, inputs = kept.plan, kept.inputs
    except RecordError:
        return None
    now = record(sources)
    if any(inputs.get(name) != now[name] for name in _KNOWLEDGE):
        return None
    if not inputs.get("feasible", not _best_effort(sources.spec)):
        return None
    return plan if has_room(plan, sources.pools) else None


def has_room(plan: PlanStatus, pools: tuple[AcceleratorPool, ...]) -> bool:
    """Whether the nodes hold all replicas of `plan`, whose ranks are on one node."""
    if plan.pipeline_parallel_size > 1:
        return False
    each = plan.tensor_parallel_size if plan.cpu_cores is None else float(plan.cpu_cores)
    found = 0
    for pool in pools:
        if pool.shared or pool.accelerator != plan.accelerator:
            continue
        if (pool.resource or GPU) != (plan.resource_name or GPU):
            continue
        most = math.inf
        if pool.memory_bytes is not None:
            most = pool.memory_bytes // max(1, plan.memory_bytes)
            if pool.accelerator != CPU:  # it is that of one accelerator, else of the node
                most = math.inf if most else 0
        found += pool.nodes * int(min(pool.count / each, most))
    return found >= plan.replicas


def _best_effort(spec: LLMDeploymentSpec) -> bool:
    return spec.slo.when_infeasible is WhenInfeasible.BEST_EFFORT

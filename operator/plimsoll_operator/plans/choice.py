"""Which plan is in force: the one that stands, or a new one.

A plan stands while what it was made from stays the same, whatever happens to the nodes: pods that
take up resources, nodes that come and go and a restarted operator must not change what runs. Only
a plan that misses the SLO gives way, to the first feasible one.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.api.status import Feasibility, PlanStatus
from plimsoll_operator.engines.engine_support import ENGINE
from plimsoll_operator.extended_resources import GPU
from plimsoll_operator.plans.spec_hash import spec_hash
from plimsoll_operator.render.rendering import Rendering
from plimsoll_operator.render.revision import revision_name
from plimsoll_operator.resource import Resource
from plimsoll_planner.accelerators import CPU
from plimsoll_planner.inputs import PlanRequest
from plimsoll_planner.support import Lack, Needs

_PLANNED = frozenset({"workload", "slo", "accelerators", "precision", "pin"})
"""Parts of a spec that only a plan is made from."""
FOLLOWED = frozenset({"replicas", "scaling", "access", "rollout", "revision_history_limit"})
"""Parts that are followed at all times, whichever revision is in force."""
ROLLED_BACK = "RolledBack"
PAUSED = "Paused"


@dataclass(frozen=True)
class Trouble:
    """Why a resource cannot be planned or run.

    `transient` is whether trying again soon may help, without anybody changing anything.
    """

    reason: str
    message: str
    transient: bool = False


@dataclass(frozen=True)
class Hold:
    """Why an earlier revision is in force instead of the spec: ROLLED_BACK or PAUSED.

    `revision` is its name, empty where nothing is in force, and `generation` what it was made for.
    `started` is the plan by which its pods were started, where that is another, and `rendering`
    what they were made by, where that is known.
    """

    reason: str
    message: str
    revision: str = ""
    generation: int | None = None
    started: PlanStatus | None = None
    rendering: Rendering | None = None


@dataclass(frozen=True)
class Standing:
    """What should run. `plan` is the plan to apply, or None to leave everything as it is.

    `feasibility` says why the SLO cannot be met, `trouble` why nothing can be applied. `inputs` is
    the hash of what `plan` was made from, `pods` that of what else of the spec pods are made from.
    `beyond` is a plan that the engine cannot run. `record` says what a plan was made from, where
    that is not kept in the cluster yet. `hold` is why all this is of an earlier revision, `unread`
    why the trace of the workload cannot be read, while the plan that was made for it stands.
    """

    plan: PlanStatus | None = None
    inputs: str = ""
    feasibility: Feasibility | None = None
    trouble: Trouble | None = None
    beyond: PlanStatus | None = None
    record: Mapping[str, Any] | None = None
    pods: str = ""
    hold: Hold | None = None
    unread: Trouble | None = None

    def revision(self, name: str) -> str | None:
        """Name of the ControllerRevision of the resource `name` that keeps the plan, if any."""
        if self.hold is not None:
            return self.hold.revision or None
        if self.plan is None:
            return None
        if name not in self._names:
            self._names[name] = revision_name(name, self.plan, self.inputs, self.pods)
        return self._names[name]

    @cached_property
    def _names(self) -> dict[str, str]:
        """Of the revision, by that of the resource: a look asks eight times."""
        return {}


def engine_limit(plan: PlanStatus, unserved: str = "") -> Trouble | None:
    """Why the engine cannot run `plan`; None where it can.

    `unserved` is why it cannot run the model whatever the plan, empty if it can.
    """
    if unserved:
        return Trouble(
            reason="EngineLimit",
            message=f"the plan {plan.summary} is for a model that the engine does not serve: "
            f"{unserved}",
        )
    precision = plan.precision
    lack = ENGINE.lack(
        Needs(
            (CPU if plan.accelerator == CPU else GPU)
            if plan.resource_name is None
            else plan.resource_name,
            precision.weights,
            precision.kv_cache,
            plan.tensor_parallel_size,
            plan.pipeline_parallel_size,
            bool(plan.expert_parallel),
        )
    )
    if lack is None:
        return None
    size, most = plan.tensor_parallel_size, ENGINE.max_tensor_parallel_size
    formats = " or ".join(ENGINE.weights)
    return Trouble(
        reason="EngineLimit",
        message=f"the plan {plan.summary} "
        + {
            Lack.HARDWARE: f"is for {plan.accelerator} ({plan.resource_name}), and the engine runs "
            "on NVIDIA GPUs and on CPU only: name such products in spec.accelerators.allow",
            Lack.WEIGHTS: f"has weights in {precision.weights}, and the engine runs {formats} "
            f"only, on cpu {' or '.join(ENGINE.quantized)} too: take a checkpoint in one of the "
            "first, and leave spec.precision.weights Auto",
            Lack.KV_CACHE: f"has its KV cache in {precision.kv_cache} and its weights in "
            f"{precision.weights}, and the engine keeps both in one format, or on cpu the cache in "
            f"{' or '.join(ENGINE.kv_cache)}: leave spec.precision.kvCache Auto",
            Lack.TENSOR_PARALLEL: f"needs tensorParallelSize {size}, and the engine runs a replica "
            f"on at most {most} accelerators: take a smaller model, accelerators with more "
            f"memory, or set spec.pin.tensorParallelSize to {most}",
            Lack.PIPELINE_PARALLEL: f"needs pipelineParallelSize {plan.pipeline_parallel_size}, "
            "and the engine runs a replica on one node: take a smaller model or accelerators with "
            "more memory",
            Lack.EXPERT_PARALLEL: "needs expert parallelism, which the engine does not have: take "
            "accelerators with more memory",
        }[lack],
    )


def inputs_hash(request: PlanRequest) -> str:
    """Hash of all that a plan is made from except the nodes, what is known of accelerators, and
    what the engine can run."""
    facts = repr(replace(request, inventory=(), accelerators=()))
    trace = request.workload.trace
    reserves = request.reserves or None
    staged, compressed = request.pin.pipeline_parallel_size, request.model.compressed
    for later in (request.draft, staged, trace, reserves, compressed):
        if later is not None:
            facts += repr(later)
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def pods_hash(spec: LLMDeploymentSpec) -> str:
    """Hash of what pods are made from besides a plan."""
    return spec_hash(spec, _PLANNED | FOLLOWED)


def settled(resource: Resource) -> Standing | None:
    """The plan that stands for this very generation, so that nothing need be planned; or None."""
    status = resource.status
    if (
        status.plan is None
        or status.plan_inputs is None
        or status.plan_generation != resource.generation
        or not status.plan_feasible
        or engine_limit(status.plan) is not None
    ):
        return None
    return Standing(plan=status.plan, inputs=status.plan_inputs)


def standing(
    resource: Resource,
    inputs: str,
    fresh: PlanStatus | None,
    infeasible: Feasibility | None,
    *,
    best_effort: bool,
) -> Standing:
    """The plan in force, given what the planner answers now for the inputs with that hash.

    `fresh` is the planner's plan, the nearest one if `infeasible` says that none is feasible.
    """
    answer = _in_force(resource, inputs, fresh, infeasible, best_effort=best_effort)
    return within_engine(answer)


def within_engine(answer: Standing, unserved: str = "") -> Standing:
    """`answer`, unless the engine cannot run its plan; `unserved` as for `engine_limit`."""
    limit = None if answer.plan is None else engine_limit(answer.plan, unserved)
    if limit is None:
        return answer
    return Standing(feasibility=answer.feasibility, trouble=limit, beyond=answer.plan)


def _in_force(
    resource: Resource,
    inputs: str,
    fresh: PlanStatus | None,
    infeasible: Feasibility | None,
    *,
    best_effort: bool,
) -> Standing:
    status = resource.status
    kept = status.plan if status.plan_inputs == inputs else None
    if kept is not None and status.plan_feasible:
        return Standing(plan=kept, inputs=inputs)
    if infeasible is None:
        return Standing(plan=fresh, inputs=inputs)
    if not best_effort:
        return Standing(feasibility=infeasible)
    if kept is not None:
        return Standing(plan=kept, inputs=inputs, feasibility=infeasible)
    return Standing(plan=fresh, inputs=inputs if fresh is not None else "", feasibility=infeasible)

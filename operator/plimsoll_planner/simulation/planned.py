"""What a plan's replicas are simulated from."""

from plimsoll_planner.accelerators import Accelerator
from plimsoll_planner.drafting import Drafter, step_seconds
from plimsoll_planner.inputs import DraftModel
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.models.model import Model
from plimsoll_planner.performance.memory import BLOCK_SIZE
from plimsoll_planner.planned_shape import shape_of
from plimsoll_planner.result import Plan
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_runtime.core.limits import EngineLimits


def replica_model(
    plan: Plan,
    model: Model,
    overrides: tuple[Accelerator, ...] = (),
    draft: DraftModel | None = None,
) -> ReplicaModel:
    """A replica as the plan starts it; `overrides` are accelerators that go before the catalogue's.
    Of drafts it has the cost, and none is right.

    Raises ValueError for an unknown accelerator.
    """
    shape = shape_of(plan, overrides)
    limits = EngineLimits(
        max_num_seqs=plan.max_num_seqs,
        max_num_batched_tokens=plan.max_num_batched_tokens,
        max_model_len=plan.max_model_len,
        num_blocks=plan.kv_cache_tokens // BLOCK_SIZE,
        block_size=BLOCK_SIZE,
    )
    step = step_seconds(model_facts(model), shape, Drafter.of(draft))
    return ReplicaModel(step, limits, frontend=step.frontend)

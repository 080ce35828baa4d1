"""What a plan's replicas are simulated from."""

from plimsoll_planner.accelerators import Accelerator, find
from plimsoll_planner.memory import BLOCK_SIZE
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.models.model import Model
from plimsoll_planner.performance import step_time
from plimsoll_planner.result import Plan
from plimsoll_planner.shape import Shape
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_runtime.core.limits import EngineLimits


def replica_model(
    plan: Plan, model: Model, overrides: tuple[Accelerator, ...] = ()
) -> ReplicaModel:
    """A replica as the plan starts it; `overrides` are accelerators that go before the catalogue's.

    Raises ValueError for an unknown accelerator.
    """
    accelerator = find(plan.accelerator, overrides)
    if accelerator is None:
        raise ValueError(f"no figures for {plan.accelerator}")
    shape = Shape(
        accelerator,
        plan.accelerator,
        plan.weights_precision,
        plan.kv_cache_precision,
        plan.tensor_parallel_size,
        plan.cpu_cores,
        plan.pipeline_parallel_size,
        plan.expert_parallel,
    )
    limits = EngineLimits(
        max_num_seqs=plan.max_num_seqs,
        max_num_batched_tokens=plan.max_num_batched_tokens,
        max_model_len=plan.max_model_len,
        num_blocks=plan.kv_cache_tokens // BLOCK_SIZE,
        block_size=BLOCK_SIZE,
    )
    return ReplicaModel(step_time(model_facts(model), shape), limits)

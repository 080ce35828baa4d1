"""The shape of a plan's replicas, from the plan alone."""

from plimsoll_planner.accelerators import Accelerator, find
from plimsoll_planner.result import Plan
from plimsoll_planner.search.shape import Shape


def shape_of(plan: Plan, overrides: tuple[Accelerator, ...] = ()) -> Shape:
    """What each replica is made of; `overrides` are accelerators that go before the catalogue's.

    Raises ValueError for an accelerator that neither has.
    """
    accelerator = find(plan.accelerator, overrides)
    if accelerator is None:
        raise ValueError(f"no figures for {plan.accelerator}")
    return Shape(
        accelerator,
        plan.accelerator,
        plan.weights_precision,
        plan.kv_cache_precision,
        plan.tensor_parallel_size,
        plan.cpu_cores,
        plan.pipeline_parallel_size,
        plan.expert_parallel,
    )

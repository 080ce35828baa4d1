"""Memory that plans keep free beyond the formulas, since pods ran out of it: pure.

What a formula cannot know (an allocator's waste, a library's buffers) shows when an engine is
killed for memory. The plan that this happened to is made anew with more reserve, twice as much each
time, up to a bound: beyond it something else is wrong.
"""

from plimsoll_operator.api.memory_reserve import MemoryReserve
from plimsoll_operator.api.quantity import parse_bytes
from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.api.status import LLMDeploymentStatus
from plimsoll_operator.calibration.measured import model_of
from plimsoll_operator.render.quantity import memory_quantity
from plimsoll_operator.resource import Resource
from plimsoll_operator.status.inputs import Situation
from plimsoll_operator.status.pod_trouble import out_of_memory

FIRST_BYTES = 512 * 2**20
FIRST_SHARE = 16
"""The first step is that part of what the plan takes, and no less than FIRST_BYTES."""
MOST_RAISES = 4


def reserve_after(resource: Resource, situation: Situation) -> MemoryReserve | None:
    """What the status should say of it: raised where a pod by the plan in force ran out."""
    spec, standing = resource.spec, situation.standing
    known, plan = resource.status.memory_reserve, standing.plan
    if spec is None or plan is None or situation.trouble is not None:
        return known
    model = model_of(spec)
    if known is not None and (known.model, known.accelerator) != (model, plan.accelerator):
        known = None
    # Pods by an earlier plan, or by one that is held, say nothing of the next.
    if standing.hold is not None or situation.started != plan.revision:
        return known
    if known is not None and (known.plan == plan.revision or known.raises >= MOST_RAISES):
        return known
    if not out_of_memory(situation.observed.pods, plan.revision):
        return known
    before, raises = (0, 0) if known is None else (parse_bytes(known.memory), known.raises)
    more = max(FIRST_BYTES, plan.memory_bytes // FIRST_SHARE, 2 * before)
    return MemoryReserve(
        accelerator=plan.accelerator,
        model=model,
        memory=memory_quantity(more),
        plan=plan.revision,
        raises=raises + 1,
    )


def ran_out(status: LLMDeploymentStatus) -> bool:
    """Whether it is the plan in force whose pods ran out, so that another one is due."""
    known, plan = status.memory_reserve, status.plan
    return known is not None and plan is not None and known.plan == plan.revision


def reserves_of(
    status: LLMDeploymentStatus, spec: LLMDeploymentSpec
) -> tuple[tuple[str, int], ...]:
    """What the planner is to keep free: accelerators with bytes of each."""
    known = status.memory_reserve
    if known is None or known.model != model_of(spec):
        return ()
    try:
        return ((known.accelerator, parse_bytes(known.memory)),)
    except ValueError:  # of a status that somebody else wrote
        return ()

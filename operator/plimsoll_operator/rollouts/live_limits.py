"""Limits that running engines take without a restart: pure, from what runs and is planned.

Pods keep what they were started with for as long as a plan asks for no more than that; what it asks
for less is sent to them. What they were started with is read from their Deployment, so nothing has
to be remembered.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from plimsoll_operator.api.quantity import parse_quantity
from plimsoll_operator.api.status import LimitsStatus, PlanStatus
from plimsoll_operator.observed import has_rolled_out
from plimsoll_operator.render.labels import PLAN_LABEL
from plimsoll_operator.resource import Resource
from plimsoll_runtime.core.limits import LiveLimits

KV_CACHE_SLACK = 0.05
"""A smaller step leaves a little more memory to the KV cache, which a running engine cannot take.
Pods go on with that much less of it than planned, since restarting them would gain nothing else."""


def still_sufficient(
    resource: Resource, plan: PlanStatus, there: Mapping[str, Any]
) -> PlanStatus | None:
    """What the pods of the Deployment `there` were started by, where that will do for `plan`.

    That is where they have served, and `plan` has no limit above theirs. What ran out of memory
    will not do: only a restart gives back what a cache was given.
    """
    started = _started(there, plan) if has_rolled_out(there) else None
    if started is None or started.revision == plan.revision or not _within(plan, started):
        return None
    reserve = resource.status.memory_reserve
    return None if reserve is not None and reserve.plan == started.revision else started


class PlannedLimits(NamedTuple):
    """What engines should run under; `kv_cache_tokens` is None for all that they have."""

    max_num_seqs: int
    max_num_batched_tokens: int
    kv_cache_tokens: int | None


def planned_limits(plan: PlanStatus, started: PlanStatus) -> PlannedLimits:
    """The limits of `plan` for pods that were started by `started`."""
    whole = plan.kv_cache_bytes >= started.kv_cache_bytes
    tokens = None if whole else plan.kv_cache_tokens
    return PlannedLimits(plan.max_num_seqs, plan.max_num_batched_tokens, tokens)


@dataclass(frozen=True)
class EngineReport:
    """What an engine says of itself: limits in force, the most it can take, tokens in a block."""

    live: LiveLimits
    most: LiveLimits
    block_size: int

    def status(self, started: PlanStatus, replicas: int) -> LimitsStatus:
        """`status.limits`, where so many replicas say this."""
        return LimitsStatus(
            max_num_seqs=self.live.max_num_seqs,
            max_num_batched_tokens=self.live.max_num_batched_tokens,
            kv_cache_tokens=self.live.num_usable_blocks * self.block_size,
            replicas=replicas,
            started_revision=started.revision,
        )


def limits_for(planned: PlannedLimits, engine: EngineReport) -> LiveLimits:
    """What to send to `engine`; never above what it was started with."""
    blocks = engine.most.num_usable_blocks
    if planned.kv_cache_tokens is not None:
        blocks = min(blocks, max(1, planned.kv_cache_tokens // engine.block_size))
    return LiveLimits(
        min(planned.max_num_seqs, engine.most.max_num_seqs),
        min(planned.max_num_batched_tokens, engine.most.max_num_batched_tokens),
        blocks,
    )


@dataclass(frozen=True)
class LimitsReport:
    """What became of the limits. `lacking` says, for each ready pod that runs under others or may
    do so, why; `status` is what the others say."""

    status: LimitsStatus | None = None
    lacking: tuple[str, ...] = ()

    def told(self, plan: PlanStatus | None) -> str:
        """In a sentence what is lacking, nothing where nothing is; the same for the same causes."""
        if not self.lacking or plan is None:
            return ""
        count = len(self.lacking)
        pods = "1 replica has" if count == 1 else f"{count} replicas have"
        return (
            f"{pods} not taken maxNumSeqs {plan.max_num_seqs} and maxNumBatchedTokens "
            f"{plan.max_num_batched_tokens}: {min(self.lacking)}"
        )


NO_REPORT = LimitsReport()


def _within(plan: PlanStatus, started: PlanStatus) -> bool:
    return (
        plan.max_num_seqs <= started.max_num_seqs
        and plan.max_num_batched_tokens <= started.max_num_batched_tokens
        and plan.kv_cache_bytes <= started.kv_cache_bytes * (1 + KV_CACHE_SLACK)
    )


def _started(deployment: Mapping[str, Any], plan: PlanStatus) -> PlanStatus | None:
    """`plan` with what the Deployment starts pods with instead; None where that cannot be read."""
    try:
        template = deployment["spec"]["template"]
        (engine,) = (item for item in template["spec"]["containers"] if item["name"] == "engine")
        options = dict(text.split("=", 1) for text in engine["args"] if "=" in text)
        started = {
            "revision": str(template["metadata"]["labels"][PLAN_LABEL]),
            "max_num_seqs": int(options["--max-num-seqs"]),
            "max_num_batched_tokens": int(options["--max-num-batched-tokens"]),
            "kv_cache_bytes": int(options["--kv-cache-memory-bytes"]),
        }
        if plan.cpu_cores is not None:
            memory = parse_quantity(str(engine["resources"]["requests"]["memory"]))
            started["memory_bytes"] = int(memory)
    except (KeyError, TypeError, ValueError):
        return None
    return plan.model_copy(update=started)

"""One way to run a replica: limits and memory on a shape, and the rate it sustains."""

import math
from dataclasses import dataclass, replace
from enum import Enum

from plimsoll_planner.drafting import (
    Drafter,
    bytes_of_block,
    memory_without_kv_cache,
    step_seconds,
)
from plimsoll_planner.inputs import Objectives, Pin
from plimsoll_planner.model_facts import ModelFacts
from plimsoll_planner.performance.latency import (
    OVERLOADED,
    Engine,
    Latency,
    full_batch_tpot,
    latency,
)
from plimsoll_planner.performance.memory import (
    BLOCK_SIZE,
    MemoryPlan,
    with_kv_cache,
    with_reserves,
)
from plimsoll_planner.performance.traffic import Traffic
from plimsoll_planner.search.shape import Shape
from plimsoll_planner.text import gibibytes, round_down

HEADROOM = 0.1
"""Share of a promised latency that a plan leaves for the error of its predictions."""
MAX_UTILISATION = 0.85
"""Most of the prompt throughput that a plan uses; above, queues grow long and the closed formulas
of `latency` fall short of what the scheduler does."""
DEFAULT_TPOT = 0.1
"""TPOT to size batches by where none is promised: ten tokens a second, about as fast as people
read."""
SEQUENCES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
GPU_BUDGETS = (512, 1024, 2048, 4096, 8192)
CPU_BUDGETS = (64, 128, 256, 512, 1024)
_BISECTIONS = 16
_HARDLY_ANY = 1e-4
"""Load of an idle replica, as a share of what one sequence at a time would be."""


class Limit(Enum):
    """What keeps a replica from serving more."""

    TTFT = "timeToFirstToken"
    TPOT = "timePerOutputToken"
    SEQUENCES = "maxNumSeqs"
    KV_CACHE = "KV cache"
    CAPACITY = "compute"


class DoesNotFitError(Exception):
    """A shape cannot hold the model; the message says why, with figures and the way out.

    `shortfall` is how many times too small it is, to tell the nearest.
    """

    def __init__(self, message: str, shortfall: float = math.inf) -> None:
        super().__init__(message)
        self.shortfall = shortfall


@dataclass(frozen=True)
class Demand:
    """What every option is judged by. `max_model_len` in tokens."""

    facts: ModelFacts
    traffic: Traffic
    objectives: Objectives
    max_model_len: int
    pin: Pin
    draft: Drafter | None = None
    reserves: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Option:
    """A replica that fits. `sustained` is the rate it keeps its promise at, 0 if at none."""

    shape: Shape
    engine: Engine
    memory: MemoryPlan
    sustained: float

    def latency(self, demand: Demand, rate: float) -> Latency:
        """Latency at `rate` requests per second."""
        return latency(self.engine, demand.traffic, rate)


def options(demand: Demand, shape: Shape, memory_bytes: int) -> list[Option]:
    """The options on `shape` with `memory_bytes` to use, one for each token budget that fits.

    Raises DoesNotFitError where none does.
    """
    pinned = demand.pin.max_num_batched_tokens
    ladder = CPU_BUDGETS if shape.is_cpu else GPU_BUDGETS
    budgets: tuple[int, ...] = ladder if pinned is None else (pinned,)
    if pinned is None and demand.pin.max_num_seqs is not None:
        least = demand.pin.max_num_seqs
        budgets = tuple(size for size in ladder if size >= least) or (2 * least,)
    found: list[Option] = []
    refused: DoesNotFitError | None = None
    for budget in budgets:
        try:
            found.append(_option(demand, shape, memory_bytes, budget))
        except DoesNotFitError as error:
            refused = refused or error
    if refused is not None and not found:
        raise refused
    return found


def limit_at(option: Option, demand: Demand, rate: float) -> Limit | None:
    """What `rate` breaks first, headroom included; None where the promise holds."""
    return _limit(option.engine, option.memory, demand, rate)


def without_slots(engine: Engine) -> Engine:
    """The engine with as many slots for sequences as its token budget allows."""
    return replace(engine, max_num_seqs=engine.max_num_batched_tokens)


def batch_tpot(option: Option, demand: Demand, sequences: float) -> float:
    """TPOT of a full batch of the smallest usual size that holds `sequences`."""
    size = next((n for n in SEQUENCES if n >= sequences), SEQUENCES[-1])
    return full_batch_tpot(option.engine, demand.traffic, size)


def sustained_rate(engine: Engine, memory: MemoryPlan, demand: Demand, slack: float = 1.0) -> float:
    """The highest rate, to three digits and rounded down, at which nothing is broken; or 0.

    With a `slack` all that bounds it may be exceeded by that factor.
    """
    slots = engine.max_num_seqs / (demand.traffic.output * engine.step.decode(1, 1))
    high, low = slots, 0.0
    if _limit(engine, memory, demand, high * _HARDLY_ANY, slack) is not None:
        return 0.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _limit(engine, memory, demand, middle, slack) is None:
            low = middle
        else:
            high = middle
        if round_down(low) == round_down(high):
            break
    return round_down(low)


def _limit(
    engine: Engine, memory: MemoryPlan, demand: Demand, rate: float, slack: float = 1.0
) -> Limit | None:
    found = latency(engine, demand.traffic, rate)
    if found is OVERLOADED:
        freed = latency(without_slots(engine), demand.traffic, rate)
        return Limit.CAPACITY if freed is OVERLOADED else Limit.SEQUENCES
    promised, kept = demand.objectives, 1 - HEADROOM
    ttft = math.inf if promised.ttft_p95 is None else promised.ttft_p95 * kept
    tpot = math.inf if promised.tpot_p95 is None else promised.tpot_p95 * kept
    for limit, needs, has in (
        (Limit.CAPACITY, found.utilisation, MAX_UTILISATION),
        (Limit.TTFT, found.ttft_p95, ttft),
        (Limit.TPOT, found.tpot_p95, tpot),
        (Limit.SEQUENCES, found.running_p95, engine.max_num_seqs),
        (Limit.KV_CACHE, found.resident_p95, memory.kv_cache_tokens),
    ):
        if needs > has * slack:
            return limit
    return None


def _batch_goal(demand: Demand, alone: Engine) -> float:
    """The TPOT that a full batch may have, by the engine with one sequence. A promise that not even
    that one keeps bounds nothing: a smaller batch would only make requests wait as well."""
    traffic, promised = demand.traffic, demand.objectives
    least = full_batch_tpot(alone, traffic, 1)
    unbound = max(DEFAULT_TPOT, 2 * least)
    idle = latency(alone, traffic, _HARDLY_ANY / (traffic.output * least))
    kept = 1 - HEADROOM
    if promised.tpot_p95 is None or idle.tpot_p95 > promised.tpot_p95 * kept:
        return unbound
    if promised.ttft_p95 is not None and idle.ttft_p95 > promised.ttft_p95 * kept:
        return unbound
    return promised.tpot_p95 * kept


def _option(demand: Demand, shape: Shape, memory_bytes: int, budget: int) -> Option:
    traffic = demand.traffic
    step = step_seconds(demand.facts, shape, demand.draft)
    pinned = demand.pin.max_num_seqs
    ladder = (pinned,) if pinned else tuple(n for n in SEQUENCES if n < budget)
    goal = _batch_goal(demand, Engine(step, 1, budget))
    chosen: tuple[Engine, MemoryPlan] | None = None
    for sequences in ladder:
        engine = Engine(step, sequences, budget)
        if chosen and full_batch_tpot(engine, traffic, sequences) > goal:
            break
        try:
            memory = _memory(demand, shape, memory_bytes, engine)
        except DoesNotFitError:
            if chosen is None:
                raise
            break
        if chosen and memory.kv_cache_tokens < sequences * traffic.context:
            break
        chosen = engine, memory
    if chosen is None:
        raise DoesNotFitError(f"maxNumBatchedTokens {budget} leaves no room for a sequence")
    engine, memory = chosen
    return Option(shape, engine, memory, sustained_rate(engine, memory, demand))


def _memory(demand: Demand, shape: Shape, available: int, engine: Engine) -> MemoryPlan:
    """The memory of a replica; all that is left goes to the KV cache, on `cpu` what it needs."""
    facts, draft = demand.facts, demand.draft
    tokens, sequences = engine.max_num_batched_tokens, engine.max_num_seqs
    base = memory_without_kv_cache(facts, shape, draft, tokens, sequences)
    base = with_reserves(base, shape.label, demand.reserves)
    size = bytes_of_block(facts, shape, draft, demand.traffic.context)
    least = _blocks(demand.max_model_len)
    room = (available - base.total) // size
    pinned = demand.pin.kv_cache_bytes
    if pinned is not None:
        blocks = pinned // size
        if blocks < least:
            raise DoesNotFitError(
                f"pin.kvCacheMemory {gibibytes(pinned)} holds {blocks * BLOCK_SIZE} tokens, fewer "
                f"than maxContextLength {demand.max_model_len}: pin at least "
                f"{gibibytes(least * size)} or lower maxContextLength"
            )
    elif shape.is_cpu:
        needed = demand.traffic.resident_p95(engine.max_num_seqs, engine.max_num_seqs)
        blocks = max(least, min(_blocks(needed), room))
    else:
        blocks = max(least, room)
    if blocks > room:
        raise _too_large(demand, shape, available, base, blocks * size)
    return with_kv_cache(base, size, blocks)


def _too_large(
    demand: Demand, shape: Shape, available: int, base: MemoryPlan, kv_cache: int
) -> DoesNotFitError:
    count = shape.tensor_parallel_size * shape.pipeline_parallel_size
    shortfall = (base.total + kv_cache) / max(1, available)
    where = "the largest node offers" if shape.is_cpu else f"{shape} offer"
    if base.weights + base.reserve > available:
        drafted = demand.draft is not None and demand.draft.facts is not None
        who = "the model and its draft model need" if drafted else "the model needs"
        return DoesNotFitError(
            f"{who} {gibibytes(base.weights * count)} of weights in {shape.weights}, "
            f"{where} {gibibytes(available * count)}",
            shortfall,
        )
    pinned = demand.pin.kv_cache_bytes is not None
    cause = "pin.kvCacheMemory" if pinned else f"one context of {demand.max_model_len} tokens"
    return DoesNotFitError(
        f"{gibibytes(base.total * count)} of weights, activations and reserve and "
        f"{gibibytes(kv_cache * count)} of KV cache for {cause} are more than {where}, "
        f"{gibibytes(available * count)}",
        shortfall,
    )


def _blocks(tokens: float) -> int:
    return math.ceil(tokens / BLOCK_SIZE)

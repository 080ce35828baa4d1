"""What the planner is asked: plain data, SI units (seconds, bytes, FLOP/s), no Kubernetes."""

from dataclasses import dataclass, field

from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.models.model import Model
from plimsoll_planner.simulation.recorded_trace import RecordedTrace
from plimsoll_planner.support import EngineSupport


@dataclass(frozen=True)
class Lengths:
    """A length distribution in tokens."""

    mean: int
    p95: int


@dataclass(frozen=True)
class Workload:
    """Traffic over all replicas. `requests_per_second` is the mean arrival rate.

    With a `trace` that is what is simulated, at that rate, and the lengths are its own. It is not
    in the representation; see `PlanRequest`.
    """

    requests_per_second: float
    prompt_tokens: Lengths
    output_tokens: Lengths
    shared_prefix_tokens: int = 0
    trace: RecordedTrace | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Objectives:
    """What is promised; None where nothing is. Seconds, and money per million output tokens."""

    ttft_p95: float | None = None
    tpot_p95: float | None = None
    max_cost_per_million_tokens: float | None = None


@dataclass(frozen=True)
class Pin:
    """Values to keep as given; None where the planner decides. `kv_cache_bytes` per accelerator.

    `pipeline_parallel_size` is not in the representation; see `PlanRequest`.
    """

    tensor_parallel_size: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    kv_cache_bytes: int | None = None
    pipeline_parallel_size: int | None = field(default=None, repr=False)


@dataclass(frozen=True)
class DraftModel:
    """What drafts up to `num_tokens` ahead for each sequence of a step that has at most
    `max_sequences`: a second model, on the first rank of each replica, or without one what followed
    the same tokens before."""

    model: Model | None
    num_tokens: int
    max_sequences: int


@dataclass(frozen=True)
class AcceleratorPool:
    """Equal nodes: `nodes` of them, each with `count` accelerators of one product.

    For the product `cpu`, `count` is the whole CPU cores that a node has free, `memory_bytes`
    the free memory of one node. For GPUs `memory_bytes` is that of one accelerator, or None to
    take the catalogue's. `price_per_hour` is per accelerator (per core for `cpu`), or None to take
    the product's. `shared` says that what the nodes count are not whole GPUs: several pods get the
    same one. `resource` is what pods ask for, or None for what the product has. `spot` nodes may be
    taken away, and cost the product's spot price.
    """

    accelerator: str
    count: int
    nodes: int
    memory_bytes: int | None = None
    price_per_hour: float | None = None
    shared: bool = False
    resource: str | None = None
    spot: bool = False


@dataclass(frozen=True)
class PlanRequest:
    """Everything that a plan depends on; equal requests give byte-equal plans.

    `accelerators` go before the catalogue: products that it lacks, or has other figures for.
    `engine` is what can be run: plans within it go first; None to plan for the hardware alone.
    `reserves` are bytes of one accelerator to keep free on a product, beyond the formulas.
    The representation lacks what came later, from `draft` on: plans that stand have its hash and
    must not lose it.
    """

    model: Model
    workload: Workload
    objectives: Objectives
    inventory: tuple[AcceleratorPool, ...]
    allow: tuple[str, ...] = ()
    max_accelerators_per_replica: int = 8
    weights_precision: str = "Auto"
    kv_cache_precision: str = "Auto"
    max_context_length: int | None = None
    min_replicas: int = 1
    max_replicas: int = 1
    best_effort: bool = False
    pin: Pin = field(default_factory=Pin)
    accelerators: tuple[Accelerator, ...] = ()
    draft: DraftModel | None = field(default=None, repr=False)
    engine: EngineSupport | None = field(default=None, repr=False)
    reserves: tuple[tuple[str, int], ...] = field(default=(), repr=False)

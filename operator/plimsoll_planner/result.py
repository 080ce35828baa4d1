"""What the planner answers: plain data, SI units."""

from dataclasses import dataclass

from plimsoll_planner.cost import Cost


@dataclass(frozen=True)
class Simulated:
    """What a prediction was simulated on: `requests` measured at `rate` a second on one replica,
    and more of what they met. Seconds; the queue is the wait for a place in the engine."""

    requests: int
    seed: int
    rate: float
    ttft_p50: float
    tpot_p50: float
    queue_p95: float


@dataclass(frozen=True)
class Prediction:
    """What the performance model says of a plan. Seconds; rates per second.

    8 of 10 measurements of either percentile lie within its range; see `uncertainty`. The
    percentiles are those of a simulation, or of closed formulas where `simulated` is None.
    """

    ttft_p95: float
    tpot_p95: float
    requests_per_second_per_replica: float
    cost_per_million_tokens: float | None
    ttft_p95_range: tuple[float, float] | None = None
    tpot_p95_range: tuple[float, float] | None = None
    simulated: Simulated | None = None


@dataclass(frozen=True)
class PlannedTrace:
    """A recorded trace that a plan was made for: `seconds` as recorded, `rate` as planned, mean
    lengths in tokens."""

    digest: str
    requests: int
    seconds: float
    rate: float
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Plan:
    """One way to run the model. `kv_cache_bytes` and `memory_bytes` are per accelerator.

    `cpu_cores` is None unless the accelerator is `cpu`; it may be a fraction, such as 0.5.
    `resource` is what pods ask for. The weights are as `published` where the checkpoint is
    quantized to their format, so that nothing is made of it on loading. `binding_constraint` says
    in one sentence what stopped the plan from being cheaper. `cost` is None where a price is
    unknown.
    """

    accelerator: str
    cpu_cores: float | None
    tensor_parallel_size: int
    pipeline_parallel_size: int
    weights_precision: str
    kv_cache_precision: str
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    kv_cache_bytes: int
    kv_cache_tokens: int
    memory_bytes: int
    replicas: int
    predicted: Prediction
    binding_constraint: str
    resource: str
    cost: Cost | None = None
    expert_parallel: bool = False
    trace: PlannedTrace | None = None
    published: bool = False


@dataclass(frozen=True)
class Alternative:
    """A near feasible point: what to change, and what that gives."""

    change: str
    effect: str


@dataclass(frozen=True)
class Figures:
    """What a candidate would give: seconds at the declared load, and money an hour if known.

    `replicas` are what the load needs within what maxReplicas and the nodes allow; the rate that
    one of them sustains is 0 where it keeps the latency at none.
    """

    replicas: int
    max_num_seqs: int
    max_num_batched_tokens: int
    ttft_p95: float
    tpot_p95: float
    requests_per_second_per_replica: float
    cost_per_hour: float | None


@dataclass(frozen=True)
class Candidate:
    """A plan that was considered, and why it lost; empty `rejected_because` for the winner.

    `figures` are None where the model does not even fit.
    """

    accelerator: str
    tensor_parallel_size: int
    weights_precision: str
    rejected_because: str
    figures: Figures | None = None
    pipeline_parallel_size: int = 1
    expert_parallel: bool = False


@dataclass(frozen=True)
class PlanResult:
    """`plan` is the cheapest feasible plan, or, if `feasible` is False, the nearest one.

    It is None when not even the model fits. `binding_constraint` is what stands in the way of
    the promise when infeasible, else what stopped the plan from being cheaper. `too_dear` says that
    latencies and rate can hold, and only what that costs cannot.
    """

    feasible: bool
    plan: Plan | None
    binding_constraint: str
    alternatives: tuple[Alternative, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    too_dear: bool = False

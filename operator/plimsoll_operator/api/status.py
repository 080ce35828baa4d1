"""`LLMDeployment.status`: what the operator found and decided."""

from typing import Annotated

from pydantic import Field

from plimsoll_operator.api.base import ToldModel
from plimsoll_operator.api.formats import SHARE
from plimsoll_operator.api.memory_reserve import MemoryReserve
from plimsoll_operator.api.planned_trace import PlannedTrace
from plimsoll_operator.api.spec import Duration, Quantity


class PercentileValue(ToldModel):
    """One latency figure."""

    p50: str | None = Field(default=None, description="Median.")
    p95: str = Field(description="95th percentile, such as 640ms.")
    low: str | None = Field(
        default=None, description="Of a prediction: 1 of 10 measurements is expected below this."
    )
    high: str | None = Field(
        default=None, description="Of a prediction: 1 of 10 measurements is expected above this."
    )


class SimulatedTraffic(ToldModel):
    """What latencies were simulated on."""

    requests: int = Field(description="Requests that were measured.")
    seed: int = Field(description="Seed of their gaps and lengths.")
    requests_per_second: str = Field(description="Rate at one replica.")


class Predicted(ToldModel):
    """What the performance model predicts at the declared workload."""

    time_to_first_token: PercentileValue = Field(description="Predicted TTFT.")
    time_per_output_token: PercentileValue = Field(description="Predicted TPOT.")
    requests_per_second_per_replica: str = Field(
        description="Rate that one replica sustains within the SLO."
    )
    cost_per_million_tokens: str | None = Field(
        default=None, description="Cost per million output tokens; absent if no price is known."
    )
    queue: PercentileValue | None = Field(
        default=None, description="Predicted wait for a place in the engine."
    )
    simulated: SimulatedTraffic | None = Field(
        default=None,
        description="What the latencies were simulated on; absent where they are by closed "
        "formulas.",
    )


class PlanPrecision(ToldModel):
    """Number formats that were chosen."""

    weights: str = Field(description="Format of the weights.")
    kv_cache: str = Field(description="Format of the KV cache.")
    published: bool | None = Field(
        default=None,
        description="True where the checkpoint itself is quantized to the weights' format, so that "
        "nothing is made of it on loading.",
    )


class PlanStatus(ToldModel):
    """What the planner decided for this spec on this inventory."""

    summary: str = Field(description="Short form, such as H200x2 bs64.")
    revision: str = Field(description="Hash of the plan; pods carry it as a label.")
    accelerator: str = Field(description="Accelerator product, or cpu.")
    resource_name: str | None = Field(
        default=None,
        description="Extended resource that pods ask for, where it is not nvidia.com/gpu, such as "
        "nvidia.com/mig-1g.10gb.",
    )
    cpu_cores: str | None = Field(
        default=None, description="CPU cores per replica, for the accelerator cpu."
    )
    tensor_parallel_size: int = Field(description="Accelerators that share each layer.")
    pipeline_parallel_size: int = Field(description="Stages that share the layers.")
    precision: PlanPrecision = Field(description="Number formats that were chosen.")
    max_num_seqs: int = Field(description="Most sequences that one replica runs at once.")
    max_num_batched_tokens: int = Field(description="Most new tokens in one step.")
    max_model_len: int = Field(description="Longest prompt plus output, in tokens.")
    kv_cache_bytes: int = Field(description="KV cache of one accelerator.")
    kv_cache_tokens: int = Field(description="Tokens that the KV cache of one replica holds.")
    memory_bytes: int = Field(
        description="Memory that one accelerator needs: weights, KV cache, activations, reserve."
    )
    replicas: int = Field(description="Replicas that the declared load needs.")
    predicted: Predicted = Field(description="What the performance model predicts.")
    binding_constraint: str = Field(description="What stopped the plan from being cheaper.")
    expert_parallel: bool | None = Field(
        default=None,
        description="True where each accelerator holds whole experts instead of parts of all.",
    )
    trace: PlannedTrace | None = Field(
        default=None, description="The trace of spec.workload that it was made for."
    )


class Alternative(ToldModel):
    """A near point at which the promise could hold."""

    change: str = Field(description="What to change, such as slo.timeToFirstToken.p95: 640ms.")
    effect: str = Field(description="What that would give.")


class Feasibility(ToldModel):
    """Why the promise cannot hold and what would make it hold."""

    binding_constraint: str = Field(description="What stands in the way.")
    alternatives: list[Alternative] = Field(
        default_factory=list,
        description="Nearest feasible points.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class ObservedTraffic(ToldModel):
    """What the engines measured over the last minutes, told again only where it has changed."""

    requests_per_second: str = Field(description="Rate of arrivals over all replicas.")
    prompt_tokens: int = Field(description="Mean length of prompts.")
    output_tokens: int = Field(description="Mean length of outputs.")
    time_to_first_token: PercentileValue = Field(description="Measured TTFT.")
    time_per_output_token: PercentileValue = Field(description="Measured TPOT.")


class ScalingDecision(ToldModel):
    """One change of the replica count, with all that it follows from."""

    at: str = Field(description="When it was made.", json_schema_extra={"format": "date-time"})
    current: int = Field(description="Replicas that were asked for before.")
    replicas: int = Field(description="Replicas asked for since.")
    wanted: int = Field(description="Replicas that the demand needed, within the bounds.")
    lowest: int = Field(description="Fewest recommended in the short window.")
    highest: int = Field(description="Most recommended in the stabilization window.")
    fewest: int | None = Field(
        default=None, description="Fewest that behavior.scaleDown allowed; absent if any."
    )
    most: int | None = Field(
        default=None, description="Most that behavior.scaleUp allowed; absent if any."
    )
    min_replicas: int = Field(description="Fewest that were allowed.")
    max_replicas: int = Field(description="Most that were allowed.")
    ready: int = Field(description="Replicas that were measured.")
    slots: int = Field(description="Sequences that one replica runs at once.")
    running: str = Field(description="Requests that ran.")
    waiting: str = Field(description="Requests that waited.")
    standing: str = Field(description="Requests that waited at every look of the last minute.")
    filled: str = Field(description="Replicas' worth of slots or KV cache in use.")
    requests_per_second: str | None = Field(
        default=None, description="Rate of arrivals; absent if it was not known yet."
    )
    capacity: str = Field(description="Requests per second of one replica, by the plan.")
    correction: str = Field(description="Factor on it, learned from promises kept and missed.")
    held: int | None = Field(
        default=None,
        description="Replicas asked for instead for now, as no more of them drain at once.",
    )


class LimitsStatus(ToldModel):
    """Limits that engines say they run under; changed without restarting them where they can."""

    max_num_seqs: int = Field(description="Most sequences that one replica runs at once.")
    max_num_batched_tokens: int = Field(description="Most new tokens in one step.")
    kv_cache_tokens: int = Field(description="Tokens of its KV cache that one replica uses.")
    replicas: int = Field(description="Ready replicas that run under these limits.")
    started_revision: str = Field(
        description="Plan that these replicas were started by, whose limits are the most that they "
        "can take."
    )


class MeasuredFrontend(ToldModel):
    """CPU seconds of the process that speaks HTTP, in front of an engine."""

    request: Duration = Field(description="Of a request.")
    prompt_token: Duration = Field(description="Of a token of its prompt.")
    message: Duration = Field(description="Of what a step of the engine puts out.")
    event: Duration = Field(description="Of each client of that.")
    token: Duration = Field(description="Of each token in it.")
    error: Annotated[str, SHARE.field()] = Field(
        description="Median relative error of the CPU seconds of a stretch of time."
    )
    stretches: int = Field(description="How many stretches of time it was fitted to.")


class MeasuredCalibration(ToldModel):
    """What the engines' own steps say of this model on this accelerator; the next plan uses it."""

    accelerator: str = Field(description="The product that it was measured on.")
    model: str = Field(description="The model's source, with @REVISION where it has one.")
    compute_efficiency: Quantity | None = Field(
        default=None,
        description="Share of the peak compute that a step reaches; of cpu, of one slow core's.",
    )
    bandwidth_efficiency: Quantity | None = Field(
        default=None, description="The same of the memory bandwidth."
    )
    attention_efficiency: Quantity | None = Field(
        default=None, description="Of cpu: share of the peak compute that attention reaches."
    )
    kv_cache_efficiency: Quantity | None = Field(
        default=None,
        description="Of cpu: share of the memory bandwidth at which the KV cache is read.",
    )
    step_overhead: Duration | None = Field(
        default=None, description="Time of a step that neither computes nor reads."
    )
    sequence_overhead: Duration | None = Field(
        default=None, description="What each running sequence adds to that."
    )
    frontend: MeasuredFrontend | None = Field(
        default=None, description="What HTTP, tokenization and delivery take; absent if not known."
    )
    error: Annotated[str, SHARE.field()] = Field(
        description="Median relative error of step times with these figures."
    )
    samples: int = Field(description="How many steps it was fitted to.")
    measured_at: str = Field(description="When, in UTC.")


class ServedStatus(ToldModel):
    """The revision that served last: what a rollout that fails goes back to."""

    revision: str = Field(description="Name of the ControllerRevision.")
    started_plan: str = Field(
        description="Revision of the plan that its pods were started by, as their label says."
    )
    feasible: bool = Field(description="Whether its plan meets the SLO that it was made for.")


class RollbackStatus(ToldModel):
    """Why the revision that served last is in force again. It stays so until the spec changes."""

    generation: int = Field(description="Generation whose rollout failed.")
    spec_hash: str = Field(
        description="Hash of the spec that failed, without replicas: another one is tried again."
    )
    failed_revision: str = Field(description="ControllerRevision that did not come to serve.")
    message: str = Field(description="What failed.", max_length=1024)


class Condition(ToldModel):
    """metav1.Condition."""

    type: str = Field(description="CamelCase type of the condition.", max_length=316)
    status: str = Field(
        description="True, False or Unknown.",
        json_schema_extra={"enum": ["True", "False", "Unknown"]},
    )
    reason: str = Field(description="CamelCase reason, for machines.", max_length=1024)
    message: str = Field(description="Message, for people.", max_length=32768)
    last_transition_time: str = Field(
        description="When status last changed.", json_schema_extra={"format": "date-time"}
    )
    observed_generation: int = Field(description="Generation that this was decided for.", ge=0)


class LLMDeploymentStatus(ToldModel):
    """The observed state of an LLMDeployment."""

    observed_generation: int | None = Field(
        default=None, description="Generation that this status was made for."
    )
    replicas: int | None = Field(default=None, description="Pods that exist.")
    ready_replicas: int | None = Field(default=None, description="Pods that serve.")
    selector: str | None = Field(
        default=None, description="Label selector of the pods, for /scale."
    )
    endpoint: str | None = Field(default=None, description="Base URL for clients in the cluster.")
    plan: PlanStatus | None = Field(default=None, description="The plan that is in force.")
    current_revision: str | None = Field(
        default=None, description="Name of the ControllerRevision that keeps the plan in force."
    )
    served: ServedStatus | None = Field(
        default=None, description="The revision that served last, all replicas by it."
    )
    rollback: RollbackStatus | None = Field(
        default=None, description="Present while an earlier revision serves instead of the spec."
    )
    plan_generation: int | None = Field(
        default=None, description="Newest generation that the plan in force was made or kept for."
    )
    plan_feasible: bool | None = Field(
        default=None, description="Whether the plan in force meets the SLO that it was made for."
    )
    plan_inputs: str | None = Field(
        default=None,
        description="Hash of what the plan was made from besides the nodes; while it is the same, "
        "a feasible plan is kept whatever happens to the nodes.",
    )
    feasibility: Feasibility | None = Field(
        default=None, description="Present while the SLO cannot be met."
    )
    observed: ObservedTraffic | None = Field(
        default=None, description="What was measured under the plan in force."
    )
    drifted: list[str] = Field(
        default_factory=list,
        description="Revisions that were slower than predicted: an edit back to one plans anew.",
        max_length=10,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    scaling: list[ScalingDecision] = Field(
        default_factory=list,
        description="The last changes of the replica count by the operator, newest last.",
        max_length=10,
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    draining: list[str] = Field(
        default_factory=list,
        description="Pods that are out of service, and go as soon as their requests have ended.",
        max_length=8,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    limits: LimitsStatus | None = Field(
        default=None, description="Limits in force, as the engines of the plan's pods say."
    )
    calibration: MeasuredCalibration | None = Field(
        default=None, description="Figures of the performance model, fitted to measured steps."
    )
    memory_reserve: MemoryReserve | None = Field(
        default=None, description="Present once pods ran out of memory."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        description="Ready, Reconciling, Stalled, SLOFeasible, AutoscalingActive, PlanDrifted; "
        "TraceResolved where a trace is named.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )

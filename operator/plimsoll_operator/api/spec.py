"""`LLMDeployment.spec`: what a platform team declares. The CRD's schema is made from these types.

Every field may be edited at any time. What strings look like is in `formats.py`, rules that span
fields in `rules.py`; both become CEL rules of the CRD, so that `kubectl apply` itself refuses, and
`validate.py` checks the same for `plimsoll plan`, which has no API server to ask.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from plimsoll_operator.api.access import Access
from plimsoll_operator.api.base import ApiModel
from plimsoll_operator.api.behavior import ScalingBehavior
from plimsoll_operator.api.formats import (
    ACCELERATOR,
    CONFIG_MAP_KEY,
    DURATION,
    OBJECT_NAME,
    QUANTITY,
    REVISION,
    SERVED_NAME,
    SOURCE,
)
from plimsoll_operator.api.schedule import Schedule
from plimsoll_operator.api.secrets import Authentication, Cache, Tls, TokenSource
from plimsoll_operator.api.template import PodTemplate
from plimsoll_operator.api.workload import Workload

Duration = Annotated[str, DURATION.field()]
Quantity = Annotated[str, QUANTITY.field()]
Source = Annotated[str, SOURCE.field()]
Revision = Annotated[str, REVISION.field()]
ServedName = Annotated[str, SERVED_NAME.field()]
Accelerator = Annotated[str, ACCELERATOR.field()]
ObjectName = Annotated[str, OBJECT_NAME.field()]
ConfigMapKey = Annotated[str, CONFIG_MAP_KEY.field()]


class Precision(StrEnum):
    AUTO = "Auto"
    BF16 = "BF16"
    FP32 = "FP32"
    INT8 = "INT8"


class WeightsPrecision(StrEnum):
    AUTO = "Auto"
    BF16 = "BF16"
    FP16 = "FP16"
    FP32 = "FP32"
    FP8 = "FP8"
    INT8 = "INT8"
    INT4 = "INT4"
    MXFP4 = "MXFP4"
    NVFP4 = "NVFP4"


class WhenInfeasible(StrEnum):
    REFUSE = "Refuse"
    BEST_EFFORT = "BestEffort"


class ScalingMode(StrEnum):
    AUTOMATIC = "Automatic"
    EXTERNAL = "External"


class SpeculationMethod(StrEnum):
    """Not `Off`, which YAML reads as false."""

    DISABLED = "Disabled"
    N_GRAM = "NGram"
    DRAFT_MODEL = "DraftModel"


class ConfigMapKeyRef(ApiModel):
    """A key of a ConfigMap in the same namespace."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    key: ConfigMapKey = Field(default="config.json", description="Key in the ConfigMap.")


class ConfigSource(ApiModel):
    """Where the model's config.json can be read when the source itself is out of reach."""

    config_map_key_ref: ConfigMapKeyRef = Field(description="A ConfigMap that holds config.json.")


class ModelSource(ApiModel):
    """A model and where it comes from."""

    source: Source = Field(
        description=(
            "Where the weights are: hf://ORG/NAME, pvc://CLAIM/PATH, oci://IMAGE or builtin://NAME."
        ),
    )
    revision: Revision | None = Field(
        default=None,
        description=(
            "Commit of an hf:// source, 7 to 40 hexadecimal digits. A branch or tag moves and is "
            "refused unless allowMovingRevision is true."
        ),
    )
    allow_moving_revision: bool = Field(
        default=False,
        description="Accept a branch or tag, or none, as revision of an hf:// source.",
    )
    config_from: ConfigSource | None = Field(
        default=None,
        description=(
            "Where to read config.json for planning when the operator cannot reach the source, "
            "as with pvc:// and oci://."
        ),
    )


class Model(ModelSource):
    """The model to serve and where it comes from."""

    served_name: ServedName | None = Field(
        default=None,
        description="The name that clients send in `model`. The resource's own name if absent.",
    )
    max_context_length: int | None = Field(
        default=None,
        description="Longest prompt plus output in tokens. The model's own limit if absent.",
        ge=16,
        le=10_000_000,
    )
    token_from: TokenSource | None = Field(
        default=None,
        description="A token of the Hugging Face Hub for an hf:// source that is gated or private. "
        "Only engine pods get it: give configFrom as well, which the operator reads instead.",
    )
    cache: Cache | None = Field(
        default=None,
        description="Where an hf:// source is kept, so that a pod that starts again does not "
        "download it again. Absent: with the pod.",
    )


class Percentiles(ApiModel):
    """A latency promise by percentile."""

    p95: Duration = Field(description="95 of 100 requests are at most this slow, such as 800ms.")


class SLO(ApiModel):
    """What is promised to clients, and what it may cost."""

    time_to_first_token: Percentiles | None = Field(
        default=None, description="Time from arrival to the first output token (TTFT)."
    )
    time_per_output_token: Percentiles | None = Field(
        default=None, description="Mean time per output token after the first (TPOT)."
    )
    max_cost_per_million_tokens: Quantity | None = Field(
        default=None,
        description="Highest cost per million output tokens at the planned load, in the currency "
        "of the nodes' prices.",
    )
    when_infeasible: WhenInfeasible = Field(
        default=WhenInfeasible.REFUSE,
        description="Refuse starts no new pods; BestEffort runs the nearest plan, marked as such.",
    )


class Accelerators(ApiModel):
    """Which accelerators may be used."""

    allow: list[Accelerator] = Field(
        default_factory=list,
        description="Products such as NVIDIA-H200, as nodes are labelled, or cpu. "
        "Empty: any that the cluster has.",
        max_length=32,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    max_per_replica: int = Field(
        default=8, description="Most accelerators that one replica may use.", ge=1, le=64
    )


class PrecisionSpec(ApiModel):
    """Number formats. The engine has one for weights and KV cache together, BF16 or FP32, and on
    cpu INT8 for the weights, the KV cache or both; all others are planned only."""

    weights: WeightsPrecision = Field(
        default=WeightsPrecision.AUTO,
        description="Format of the weights. Auto is what a quantized checkpoint is published in; "
        "of others it is what kvCache names; where that is Auto or INT8, BF16, or FP32 on GPUs "
        "without it. On cpu the engine makes INT8 of an unquantized checkpoint when it loads it, "
        "and computes with activations in INT8 too: never by Auto, since it costs some quality. Of "
        "quantized ones it reads compressed-tensors' INT8 there.",
    )
    kv_cache: Precision = Field(
        default=Precision.AUTO,
        description="Format of the KV cache: Auto, or the same as weights unless these are "
        "quantized, or INT8, which is for cpu. Auto follows weights; beside quantized ones it is "
        "BF16, or FP16 or FP32 on GPUs without it.",
    )


class Scaling(ApiModel):
    """How many replicas there may be, and who decides."""

    min_replicas: int = Field(default=1, description="Fewest replicas.", ge=1, le=1000)
    max_replicas: int = Field(default=1, description="Most replicas.", ge=1, le=1000)
    mode: ScalingMode = Field(
        default=ScalingMode.AUTOMATIC,
        description="Automatic: the operator scales on arrivals and the queue. External: HPA or "
        "KEDA own the /scale subresource, that is spec.replicas.",
    )
    scale_down_stabilization: Duration = Field(
        default="300s", description="How long fewer replicas must have sufficed before one goes."
    )
    behavior: ScalingBehavior = Field(
        default=ScalingBehavior(),
        description="How fast the operator changes the count, as an HPA's behavior says it.",
    )
    schedules: list[Schedule] = Field(
        default_factory=list,
        description="More replicas at least than minReplicas, by time of day.",
        max_length=16,
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )


class Pin(ApiModel):
    """Values that the planner must keep; the rest is planned around them."""

    tensor_parallel_size: int | None = Field(
        default=None, description="Accelerators that share each layer of one replica.", ge=1, le=64
    )
    max_num_seqs: int | None = Field(
        default=None, description="Most sequences that one replica runs at once.", ge=1, le=4096
    )
    max_num_batched_tokens: int | None = Field(
        default=None, description="Most new tokens in one engine step.", ge=16, le=1_048_576
    )
    pipeline_parallel_size: int | None = Field(
        default=None,
        description="Nodes that share the layers of one replica, each with tensorParallelSize "
        "accelerators.",
        ge=1,
        le=64,
    )
    kv_cache_memory: Quantity | None = Field(
        default=None, description="KV cache of one accelerator, such as 20Gi."
    )


class Speculation(ApiModel):
    """Tokens that are drafted ahead and checked by the model in one step. Answers stay the same."""

    method: SpeculationMethod = Field(
        default=SpeculationMethod.DISABLED,
        description="NGram drafts what followed the last tokens when they came up before, in the "
        "prompt or the answer: good for summaries, edits and JSON. DraftModel drafts what "
        "draftModel would say next.",
    )
    draft_model: ModelSource | None = Field(
        default=None,
        description="With method DraftModel: a model with the same vocabulary, not larger than "
        "the one to serve, that drafts for it.",
    )
    num_tokens: int = Field(
        default=4, description="Most tokens drafted for a request in a step.", ge=1, le=16
    )
    max_sequences: int = Field(
        default=8,
        description="Most sequences that a step with drafts may have. Beyond, drafts would cost "
        "more time than they save. Plans count what drafting and checking costs, and no draft as "
        "right.",
        ge=1,
        le=4096,
    )


class RolloutSpec(ApiModel):
    """How an edit reaches running pods."""

    paused: bool = Field(
        default=False,
        description="Running pods stay as they are, whatever is edited: scaled and replaced, but "
        "not changed. A rollout that is under way stops where it is.",
    )
    max_unavailable: int = Field(
        default=0,
        description="How many replicas may end before new ones serve, where there is no room for a "
        "new one beside them. With 0 a rollout then waits, and is rolled back in the end.",
        ge=0,
        le=1000,
    )
    progress_deadline_seconds: int | None = Field(
        default=None,
        description="How long a rollout may go without a new replica that serves. Then the last "
        "revision that served is rolled back to. If absent, as long as the engine may take to "
        "load the model, and a minute.",
        ge=10,
        le=86_400,
    )


class LLMDeploymentSpec(ApiModel):
    """The desired state of an LLMDeployment."""

    model: Model = Field(description="The model to serve.")
    workload: Workload = Field(default=Workload(), description="The traffic to plan for.")
    slo: SLO = Field(default=SLO(), description="Latency promised to clients, and its price.")
    accelerators: Accelerators = Field(
        default=Accelerators(), description="Which accelerators may be used."
    )
    precision: PrecisionSpec = Field(default=PrecisionSpec(), description="Number formats.")
    scaling: Scaling = Field(default=Scaling(), description="Bounds and mode of scaling.")
    replicas: int | None = Field(
        default=None,
        description="Replicas that an external autoscaler asks for through /scale. Only read "
        "with scaling.mode External, where the operator begins with what runs if it is absent.",
        ge=0,
        le=1000,
    )
    pin: Pin = Field(default=Pin(), description="Planned values to keep as given.")
    access: Access | None = Field(
        default=None,
        description="Who may reach the engines' API, by NetworkPolicy. Absent: everybody; empty: "
        "nobody but the operator and monitoring.",
    )
    rollout: RolloutSpec = Field(
        default=RolloutSpec(), description="How an edit reaches running pods."
    )
    authentication: Authentication | None = Field(
        default=None, description="What clients of the engines' API must show. Absent: nothing."
    )
    tls: Tls | None = Field(
        default=None, description="How the engines' API speaks TLS. Absent: it is plain HTTP."
    )
    revision_history_limit: int = Field(
        default=10,
        description="How many earlier plans are kept as ControllerRevisions, besides the one in "
        "force and those that pods still run by.",
        ge=0,
        le=100,
    )
    speculation: Speculation = Field(
        default=Speculation(), description="Whether tokens are drafted ahead, and how many."
    )
    template: PodTemplate | None = Field(
        default=None,
        description="An overlay on engine pods. Whoever sets it must be allowed to create pods.",
    )

"""`Accelerator`: what a cluster knows of a product that the built-in catalogue does not.

All but `products` may be absent: what is absent is the catalogue's. Numbers are quantities, in
bytes, bytes per second or operations per second.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from plimsoll_operator.api.base import ApiModel
from plimsoll_operator.api.formats import PRICE, RESOURCE_NAME, SHARE, TIME
from plimsoll_operator.api.spec import Accelerator, Duration, Quantity
from plimsoll_operator.api.status import Condition

ResourceName = Annotated[str, RESOURCE_NAME.field()]
Price = Annotated[str, PRICE.field()]
Share = Annotated[str, SHARE.field()]
Time = Annotated[str, TIME.field()]


class LinkKind(StrEnum):
    NVLINK = "NVLink"
    INFINITY_FABRIC = "InfinityFabric"
    ROCE = "RoCE"
    PCIE = "PCIe"


class Compute(ApiModel):
    """Dense peaks of matrix products by number format, in operations per second."""

    fp32: Quantity | None = Field(default=None, description="Such as 67T.")
    tf32: Quantity | None = Field(default=None, description="Such as 495T.")
    bf16: Quantity | None = Field(default=None, description="Such as 989T, without sparsity.")
    fp16: Quantity | None = Field(default=None, description="Such as 989T, without sparsity.")
    fp8: Quantity | None = Field(default=None, description="Such as 1979T, without sparsity.")
    int8: Quantity | None = Field(default=None, description="Such as 1979T, without sparsity.")
    fp4: Quantity | None = Field(default=None, description="Such as 9P, without sparsity.")


class Link(ApiModel):
    """How accelerators of one node reach each other."""

    kind: LinkKind = Field(description="NVLink, InfinityFabric, RoCE or PCIe.")
    bandwidth: Quantity = Field(
        description="Bytes per second that one of them sends to all others together, one way: half "
        "of what data sheets give for both ways, such as 450G."
    )
    joins: int = Field(
        default=8, description="How many of them it reaches, itself included.", ge=2, le=1024
    )


class Frontend(ApiModel):
    """CPU seconds of the process that speaks HTTP, in front of an engine."""

    request: Duration = Field(description="Of a request, such as 1.9ms.")
    prompt_token: Duration = Field(description="Of a token of its prompt, such as 0.002ms.")
    message: Duration = Field(description="Of what a step of the engine puts out.")
    event: Duration = Field(description="Of each client of that.")
    token: Duration = Field(description="Of each token in it.")


class Calibration(ApiModel):
    """What was measured on it, and how far the model is off with it."""

    compute_efficiency: Share | None = Field(
        default=None, description="Share of the peak compute that a step reaches."
    )
    bandwidth_efficiency: Share | None = Field(
        default=None, description="Share of the memory bandwidth that a step reaches."
    )
    link_efficiency: Share | None = Field(
        default=None, description="Share of the link's bandwidth that an all-reduce reaches."
    )
    attention_efficiency: Share | None = Field(
        default=None, description="Of cpu: share of the peak compute that attention reaches."
    )
    kv_cache_efficiency: Share | None = Field(
        default=None,
        description="Of cpu: share of the memory bandwidth at which the KV cache is read.",
    )
    step_overhead: Duration | None = Field(
        default=None, description="Time of a step that neither computes nor reads, such as 3.2ms."
    )
    layer_overhead: Duration | None = Field(
        default=None, description="What each layer adds to that, such as 0.02ms."
    )
    sequence_overhead: Duration | None = Field(
        default=None, description="What each running sequence adds to that, such as 0.026ms."
    )
    request_overhead: Duration | None = Field(
        default=None, description="What a request spends outside of steps before its first token."
    )
    frontend: Frontend | None = Field(
        default=None, description="What HTTP, tokenization and delivery take."
    )
    error: Share | None = Field(
        default=None, description="Median relative error of step times with these figures."
    )
    samples: int | None = Field(
        default=None, description="How many steps were measured.", ge=1, le=2**31 - 1
    )
    model: str | None = Field(default=None, description="The model served.", max_length=512)
    engine: str | None = Field(default=None, description="Engine and version.", max_length=128)
    measured_at: Time | None = Field(default=None, description="When, in UTC.")


class AcceleratorSpec(ApiModel):
    """One product: which it is, its figures where they differ, its price, what was measured."""

    products: list[Accelerator] = Field(
        description="Names of the product: labels of nodes, such as NVIDIA-H200, or cpu, or a MIG "
        "slice such as NVIDIA-H200-MIG-1g.18gb.",
        min_length=1,
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    memory: Quantity | None = Field(
        default=None,
        description="Memory where a node's label does not say it, as the driver reports it, such "
        "as 143771Mi.",
    )
    bandwidth: Quantity | None = Field(
        default=None, description="Of the memory, in bytes per second, such as 4.8T."
    )
    compute: Compute | None = Field(default=None, description="Dense peaks by number format.")
    link: Link | None = Field(default=None, description="To others of the node.")
    resource_name: ResourceName | None = Field(
        default=None, description="Extended resource that pods ask for; nvidia.com/gpu if absent."
    )
    price_per_hour: Price | None = Field(
        default=None,
        description="Of one of them, of cpu of one core; a node's annotation goes before it.",
    )
    spot_price_per_hour: Price | None = Field(
        default=None, description="The same on nodes that may be taken away."
    )
    calibration: Calibration | None = Field(default=None, description="What was measured.")


class AcceleratorStatus(ApiModel):
    """Whether plans use it."""

    observed_generation: int | None = Field(
        default=None, description="Generation that this status was made for."
    )
    product: str | None = Field(
        default=None, description="The product of the catalogue that it changes; absent if new."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        description="Accepted.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )

"""`LLMDeployment.spec.scaling.behavior`: how fast the count may change, as an HPA's."""

from enum import StrEnum

from pydantic import Field

from plimsoll_operator.api.base import ApiModel


class SelectPolicy(StrEnum):
    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


class PolicyType(StrEnum):
    PODS = "Pods"
    PERCENT = "Percent"


class ScalingPolicy(ApiModel):
    """A largest change of the count within any period of so many seconds."""

    type: PolicyType = Field(
        description="Pods: value replicas. Percent: value percent of those at the period's start, "
        "rounded so that the larger change is allowed."
    )
    value: int = Field(description="How many, or how many percent.", ge=1, le=100_000)
    period_seconds: int = Field(description="How long the period is.", ge=1, le=1800)


class ScalingRules(ApiModel):
    """How fast the count changes in one direction."""

    select_policy: SelectPolicy = Field(
        default=SelectPolicy.MAX,
        description="Which policy counts where they differ: Max is the one that allows the largest "
        "change, Min the smallest. Disabled: none in this direction.",
    )
    policies: list[ScalingPolicy] = Field(
        default_factory=list,
        description="Largest changes. Empty: any.",
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class ScalingBehavior(ApiModel):
    """How fast the count changes. What minReplicas and maxReplicas ask for is done at once."""

    scale_up: ScalingRules = Field(default=ScalingRules(), description="Towards more replicas.")
    scale_down: ScalingRules = Field(
        default=ScalingRules(),
        description="Towards fewer, after scaleDownStabilization allows it.",
    )

"""`LLMDeployment.spec.template`: what a platform team lays over engine pods."""

from typing import Any

from pydantic import Field

from plimsoll_operator.api.base import ApiModel


class TemplateMetadata(ApiModel):
    """Metadata of engine pods."""

    labels: dict[str, str] = Field(
        default_factory=dict, description="Labels beside the operator's own.", max_length=64
    )
    annotations: dict[str, str] = Field(
        default_factory=dict, description="Annotations of the pods.", max_length=64
    )


class PodTemplate(ApiModel):
    """An overlay on engine pods. What the plan decides, and what the operator relies on, is refused
    by name; all else is as in a Pod."""

    metadata: TemplateMetadata = Field(
        default=TemplateMetadata(), description="Labels and annotations."
    )
    spec: dict[str, Any] = Field(
        default_factory=dict,
        description="Part of a PodSpec, merged as kubectl patch does: nodeSelector, tolerations, "
        "affinity, priorityClassName, imagePullSecrets, topologySpreadConstraints, env and "
        "volumeMounts of the container `engine`, further containers and volumes.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )

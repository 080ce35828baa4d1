"""`LLMDeployment.spec.access`: who may reach the engines' API."""

from typing import Annotated

from pydantic import Field

from plimsoll_operator.api.base import ApiModel
from plimsoll_operator.api.formats import CIDR, NAMESPACE

Namespace = Annotated[str, NAMESPACE.field()]
Cidr = Annotated[str, CIDR.field()]


class Access(ApiModel):
    """Who may reach the engines' API. The operator and monitoring always may."""

    namespaces: list[Namespace] = Field(
        default_factory=list,
        description="Namespaces whose pods may, such as that of a gateway.",
        max_length=32,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    cidrs: list[Cidr] = Field(
        default_factory=list,
        description="Blocks of addresses that may, such as 10.0.0.0/8, for clients that are no "
        "pods.",
        max_length=32,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )

"""`spec.workload`: the traffic to plan for."""

from typing import Annotated

from pydantic import Field

from plimsoll_operator.api.base import ApiModel
from plimsoll_operator.api.formats import CONFIG_MAP_KEY, OBJECT_NAME, QUANTITY

Quantity = Annotated[str, QUANTITY.field()]
ObjectName = Annotated[str, OBJECT_NAME.field()]
ConfigMapKey = Annotated[str, CONFIG_MAP_KEY.field()]


class TokenLengths(ApiModel):
    """A length distribution by its mean and 95th percentile, in tokens."""

    mean: int = Field(description="Mean length in tokens.", ge=1, le=10_000_000)
    p95: int | None = Field(
        default=None, description="95th percentile; twice the mean if absent.", ge=1, le=10_000_000
    )


class TraceKeyRef(ApiModel):
    """The key of a ConfigMap in the same namespace that holds a trace."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    key: ConfigMapKey = Field(default="trace.jsonl", description="Key in the ConfigMap.")


class TraceSource(ApiModel):
    """Where recorded traffic is."""

    config_map_key_ref: TraceKeyRef = Field(
        description="A ConfigMap that holds requests as JSON lines or CSV, as `plimsoll trace` "
        "writes and reads them. An edit of it plans anew, within two minutes.",
    )


DEFAULT_REQUESTS_PER_SECOND = "1"
DEFAULT_PROMPT_TOKENS = TokenLengths(mean=512, p95=1024)
DEFAULT_OUTPUT_TOKENS = TokenLengths(mean=128, p95=256)


class Workload(ApiModel):
    """The traffic to plan for: a recorded trace, or figures of it."""

    requests_per_second: Quantity | None = Field(
        default=None,
        description="Mean arrival rate over all replicas, such as 2.5 or 2500m; a trace is "
        "stretched to it. If absent, the trace's own; 1 without a trace.",
    )
    prompt_tokens: TokenLengths | None = Field(
        default=None,
        description="Prompt lengths. Without them and without a trace a mean of 512 and a p95 of "
        "1024.",
    )
    output_tokens: TokenLengths | None = Field(
        default=None,
        description="Output lengths. Without them and without a trace a mean of 128 and a p95 of "
        "256.",
    )
    shared_prefix_tokens: int = Field(
        default=0,
        description="Tokens at the start of the prompt that all requests share.",
        ge=0,
        le=10_000_000,
    )
    trace: TraceSource | None = Field(
        default=None,
        description="Recorded requests to plan for instead of lengths: their arrivals, lengths, "
        "shared prefixes, tenants and priorities.",
    )

    @property
    def prompts(self) -> TokenLengths:
        """Prompt lengths as declared, or as they count where none are."""
        return self.prompt_tokens or DEFAULT_PROMPT_TOKENS

    @property
    def outputs(self) -> TokenLengths:
        """The same of outputs."""
        return self.output_tokens or DEFAULT_OUTPUT_TOKENS

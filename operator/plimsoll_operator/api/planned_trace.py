"""`status.plan.trace`: the recorded traffic that a plan was made for."""

from pydantic import Field

from plimsoll_operator.api.base import ToldModel


class PlannedTrace(ToldModel):
    """The recorded traffic that a plan was made for."""

    hash: str = Field(description="Hash of its requests; another one is planned for anew.")
    requests: int = Field(description="How many requests it has.")
    seconds: int = Field(description="How long it is, as recorded.")
    requests_per_second: str = Field(description="Rate that it was planned at.")
    prompt_tokens: int = Field(description="Mean length of prompts.")
    output_tokens: int = Field(description="Mean length of outputs.")

"""What /v1/responses is sent: text in, text out, nothing kept."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from plimsoll_runtime.server.protocol import (
    CONTENT_RULE,
    CONTENT_SCHEMA,
    INT64,
    MAX_MESSAGES,
    Name,
    Salt,
)

MAX_METADATA = 16

# Fields that change the answer and are not supported, with the values that change nothing.
UNSUPPORTED_RESPONSES: dict[str, tuple[object, ...]] = {
    "background": (None, False),
    "context_management": (None, []),
    "conversation": (None,),
    "include": (None, []),
    "max_tool_calls": (None,),
    "previous_response_id": (None,),
    "prompt": (None,),
    "reasoning": (None, {}),
    "store": (None, False),
    "text": (None, {}, {"format": {"type": "text"}}),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
    "truncation": (None, "disabled"),
}

MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]


class InputMessage(BaseModel):
    """A message, or an answer's message handed back as it came."""

    model_config = ConfigDict(strict=True, extra="ignore", json_schema_extra=CONTENT_RULE)

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[Any, WithJsonSchema(CONTENT_SCHEMA)] = None
    type: Literal["message"] | None = None


_INPUT = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "items": InputMessage.model_json_schema(),
            "minItems": 1,
            "maxItems": MAX_MESSAGES,
        },
    ]
}


class ResponsesRequest(BaseModel):
    """`input` is text or a list of messages, checked apart."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    model: Name | None = None
    input: Annotated[Any, WithJsonSchema(_INPUT)] = None
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1, lt=INT64)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    stream: bool | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MAX_METADATA)] | None = (
        None
    )
    cache_salt: Salt | None = None


class InputMessages(BaseModel):
    """`input` as a list."""

    model_config = ConfigDict(strict=True, extra="ignore")

    input: Annotated[
        list[InputMessage], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)
    ]

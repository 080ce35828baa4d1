"""What /v1/embeddings is sent: OpenAI's fields, and vLLM's that other requests have too."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from plimsoll_runtime.server.protocol import INT64, MAX_PRIORITY, Name, Salt, prompt_schema

MAX_INPUTS = 2048
"""As many as OpenAI takes."""

# Fields that change the answer and are not supported, with the values that change nothing.
UNSUPPORTED_EMBEDDINGS: dict[str, tuple[object, ...]] = {
    "embed_dtype": (None, "float32"),
    "endianness": (None, "little"),
    "messages": (None,),
    "normalize": (None, True),
    # -1 bounds inputs by the context; they are, but a longer one is refused rather than cut.
    "truncate_prompt_tokens": (None, -1),
    "use_activation": (None, True),
}


class EmbeddingRequest(BaseModel):
    """`input` is checked apart, as completions' prompts are.

    `dimensions` are at most the model's; the SDKs ask for `base64` unless told otherwise.
    """

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    model: Name | None = None
    input: Annotated[Any, WithJsonSchema(prompt_schema(MAX_INPUTS))] = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, lt=INT64)] | None = None
    user: Name | None = None
    add_special_tokens: bool | None = None
    cache_salt: Salt | None = None
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] | None = None

"""What clients send, every field bounded. Unknown fields are ignored, as vLLM does."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from plimsoll_runtime.server.tool_choice import TOOL_CHOICE_SCHEMA
from plimsoll_runtime.server.tools import CallId, ToolCalls, Tools

MAX_N = 8
MAX_PROMPTS = 64
MAX_MESSAGES = 4096
MAX_STOPS = 16
MAX_STOP_BYTES = 64
MAX_STOP_TOKEN_IDS = 64
MAX_LOGPROBS = 20
MAX_LOGIT_BIAS = 1024
MAX_ALLOWED_TOKEN_IDS = 4096
MAX_BAD_WORDS = 64
MAX_TEMPLATE_ARGUMENTS = 16
MAX_PRIORITY = 100
INT64 = 2**63

# Fields that change the answer and are not supported, with the values that change nothing.
_UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "audio": (None,),
    "function_call": (None, "none"),
    "functions": (None, []),
    "guided_choice": (None,),
    "guided_grammar": (None,),
    "guided_json": (None,),
    "guided_regex": (None,),
    "kv_transfer_params": (None,),
    "length_penalty": (None, 1),
    "logits_processors": (None, []),
    "modalities": (None, ["text"]),
    "prompt_embeds": (None,),
    "structured_outputs": (None,),
    "truncate_prompt_tokens": (None,),
    "use_beam_search": (None, False),
}
UNSUPPORTED_COMPLETION = {
    **_UNSUPPORTED,
    "suffix": (None, ""),
}
UNSUPPORTED_CHAT = {
    **_UNSUPPORTED,
    "chat_template": (None,),
    "continue_final_message": (None, False),
    "documents": (None, []),
    "echo": (None, False),
}


def _listed(value: object) -> object:
    """A single stop string stands for a list of one."""
    return [value] if isinstance(value, str) else value


Stop = Annotated[str, StringConstraints(min_length=1, max_length=MAX_STOP_BYTES)]
Stops = Annotated[
    Annotated[list[Stop], Field(max_length=MAX_STOPS)],
    BeforeValidator(
        _listed, json_schema_input_type=Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)]
    ),
]
TokenId = Annotated[int, Field(ge=0, lt=INT64)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Name = Annotated[str, StringConstraints(max_length=256)]
Salt = Annotated[str, StringConstraints(min_length=1, max_length=256)]


# What the routes check themselves, as JSON schemas for the API's description.
_TEXT_PART = {
    "type": "object",
    "properties": {
        "type": {"enum": ["text", "input_text", "output_text"]},
        "text": {"type": "string"},
    },
    "required": ["type", "text"],
}
CONTENT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": _TEXT_PART, "minItems": 1, "maxItems": MAX_MESSAGES},
        {"type": "null"},
    ]
}
CONTENT_RULE: dict[str, Any] = {
    "anyOf": [
        {"properties": {"role": {"const": "assistant"}}},
        {"properties": {"content": {"not": {"type": "null"}}}, "required": ["content"]},
    ],
}
"""Only an assistant's message may be without content."""
_TOKEN_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}


def prompt_schema(most: int) -> dict[str, Any]:
    """Text, a list of texts, token ids or a list of those; see `prompts`."""
    return {
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": most},
            _TOKEN_IDS,
            {"type": "array", "items": _TOKEN_IDS, "minItems": 1, "maxItems": most},
        ]
    }


class StreamOptions(BaseModel):
    """What a stream reports beside text."""

    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool | None = None


class GenerationRequest(BaseModel):
    """The fields that completions and chat completions share."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    model: Name | None = None
    max_tokens: Annotated[int, Field(ge=1, lt=INT64)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_N)] | None = None
    best_of: Annotated[int, Field(ge=1, le=MAX_N)] | None = None
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = None
    stop: Stops | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    min_tokens: Annotated[int, Field(ge=0, lt=INT64)] | None = None
    ignore_eos: bool | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=MAX_STOP_TOKEN_IDS)] | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    return_token_ids: bool | None = None
    cache_salt: Salt | None = None
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    logit_bias: Annotated[dict[Name, Bias], Field(max_length=MAX_LOGIT_BIAS)] | None = None
    allowed_token_ids: Annotated[list[TokenId], Field(max_length=MAX_ALLOWED_TOKEN_IDS)] | None = (
        None
    )
    bad_words: Annotated[list[Stop], Field(max_length=MAX_BAD_WORDS)] | None = None
    prompt_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    return_tokens_as_token_ids: bool | None = None
    response_format: Any = None


class CompletionRequest(GenerationRequest):
    """`prompt` is checked apart, because a union of four shapes gives unreadable errors.

    `max_tokens` may be 0 with `echo`: then only the prompt comes back.
    """

    prompt: Annotated[Any, WithJsonSchema(prompt_schema(MAX_PROMPTS))] = None
    max_tokens: Annotated[int, Field(ge=0, lt=INT64)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    add_special_tokens: bool | None = None


class ChatMessage(BaseModel):
    """A turn of the conversation; `content` is text or a list of parts, checked apart."""

    model_config = ConfigDict(strict=True, extra="ignore", json_schema_extra=CONTENT_RULE)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[Any, WithJsonSchema(CONTENT_SCHEMA)] = None
    name: Name | None = None
    tool_calls: ToolCalls | None = None
    tool_call_id: CallId | None = None


class ConversationRequest(BaseModel):
    """A conversation, and what its chat template is told."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    messages: Annotated[
        list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)
    ]
    add_generation_prompt: bool | None = None
    tools: Tools | None = None
    chat_template_kwargs: (
        Annotated[dict[Name, Any], Field(max_length=MAX_TEMPLATE_ARGUMENTS)] | None
    ) = None


class ChatCompletionRequest(ConversationRequest, GenerationRequest):
    """`max_completion_tokens` is OpenAI's newer name of `max_tokens` and wins.

    `tool_choice` is checked apart, as it needs what `tools` are.
    """

    max_completion_tokens: Annotated[int, Field(ge=1, lt=INT64)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    tool_choice: Annotated[Any, WithJsonSchema(TOOL_CHOICE_SCHEMA)] = None
    parallel_tool_calls: bool | None = None

"""What answers look like, for the API's description. The tests hold real answers against these."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Says all that there is."""

    model_config = ConfigDict(strict=True, extra="forbid")


class ErrorDetails(Answer):
    """The problem, its value and the way out; `param` is the field at fault."""

    message: str
    type: str
    param: str | None
    code: int | str


class ErrorAnswer(Answer):
    """OpenAI's shape."""

    error: ErrorDetails


class CachedTokens(Answer):
    """Tokens of the prompt that were in the KV cache."""

    cached_tokens: int


class UsageAnswer(Answer):
    """Tokens of prompt and answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class CompletionChoice(Answer):
    """One continuation; ids and scores of the prompt only where they were asked for."""

    index: int
    text: str
    logprobs: Any
    finish_reason: Literal["stop", "length"]
    stop_reason: int | str | None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    prompt_logprobs: Any = None


class CompletionAnswer(Answer):
    """The answer of /v1/completions."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: UsageAnswer


class CalledFunctionAnswer(Answer):
    """A function and its arguments as JSON."""

    name: str
    arguments: str


class ToolCallAnswer(Answer):
    """A call of a tool."""

    id: str
    type: Literal["function"]
    function: CalledFunctionAnswer


class MessageAnswer(Answer):
    """What the assistant says."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCallAnswer] | None = None


class ChatChoice(Answer):
    """One answer; ids only where they were asked for."""

    index: int
    message: MessageAnswer
    logprobs: Any
    finish_reason: Literal["stop", "length", "tool_calls"]
    stop_reason: int | str | None
    token_ids: list[int] | None = None


class ChatCompletionAnswer(Answer):
    """The answer of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageAnswer
    prompt_token_ids: list[int] | None = None
    prompt_logprobs: Any = None


class OutputText(Answer):
    """The text of a message."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[Any]


class OutputMessage(Answer):
    """The message that a response is made of."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: Literal["completed", "incomplete"]
    content: list[OutputText]


class InputTokensDetails(Answer):
    """Tokens of the input that were in the KV cache."""

    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(Answer):
    """No token counts as reasoning."""

    reasoning_tokens: int


class ResponseUsageAnswer(Answer):
    """Tokens of input and output."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class IncompleteDetails(Answer):
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens"]


class ResponseAnswer(Answer):
    """The answer of /v1/responses."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete"]
    background: Literal[False]
    error: None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[OutputMessage]
    parallel_tool_calls: bool
    previous_response_id: None
    store: Literal[False]
    temperature: float
    text: dict[str, Any]
    tool_choice: Literal["auto"]
    tools: list[Any]
    top_p: float
    truncation: Literal["disabled"]
    usage: ResponseUsageAnswer


class EmbeddingAnswer(Answer):
    """A vector of length 1, in base64 the fp32 numbers as little-endian bytes."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsageAnswer(Answer):
    """Tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(Answer):
    """The answer of /v1/embeddings."""

    object: Literal["list"]
    model: str
    data: list[EmbeddingAnswer]
    usage: EmbeddingUsageAnswer


class TokenizeAnswer(Answer):
    """The answer of /tokenize."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeAnswer(Answer):
    """The answer of /detokenize."""

    prompt: str


class ModelAnswer(Answer):
    """A name under which the model is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: None
    max_model_len: int


class ModelsAnswer(Answer):
    """The answer of /v1/models."""

    object: Literal["list"]
    data: list[ModelAnswer]


class VersionAnswer(Answer):
    """The answer of /version."""

    version: str

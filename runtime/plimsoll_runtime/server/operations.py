"""Every operation of the API: what it is sent and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from plimsoll_runtime.server import answer_schemas as answers
from plimsoll_runtime.server.embeddings_protocol import UNSUPPORTED_EMBEDDINGS, EmbeddingRequest
from plimsoll_runtime.server.protocol import (
    UNSUPPORTED_CHAT,
    UNSUPPORTED_COMPLETION,
    ChatCompletionRequest,
    CompletionRequest,
)
from plimsoll_runtime.server.responses_protocol import UNSUPPORTED_RESPONSES, ResponsesRequest
from plimsoll_runtime.server.tokenize_protocol import (
    UNSUPPORTED_TOKENIZE,
    DetokenizeRequest,
    TokenizeChatRequest,
    TokenizeTextRequest,
)

READING = (400, 404, 408, 413, 415, 500)
"""Errors of whatever reads a body that names a model."""
GENERATING = (*READING, 429, 503)


@dataclass(frozen=True)
class Body:
    """A model of request bodies.

    `unsupported` are fields with the only values that they may have; `required` are fields that the
    route checks, not the model.
    """

    model: type[BaseModel]
    unsupported: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    required: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operation:
    """`answer` is a model, or a media type; without one the body is empty.

    `errors` come in OpenAI's shape. `unready` is the media type of a 503 that is a probe's answer,
    "" when its body is empty.
    """

    summary: str
    answer: type[BaseModel] | str = ""
    bodies: tuple[Body, ...] = ()
    errors: tuple[int, ...] = ()
    streams: bool = False
    unready: str | None = None


TEXT = "text/plain"
_PROBE = Operation("200 while new requests are admitted.", unready="")

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("get", "/v1/models"): Operation("The names of the model.", answers.ModelsAnswer),
    ("get", "/v1/models/{name}"): Operation("One of them.", answers.ModelAnswer, errors=(404,)),
    ("post", "/v1/completions"): Operation(
        "Continues each prompt.",
        answers.CompletionAnswer,
        (Body(CompletionRequest, UNSUPPORTED_COMPLETION, ("prompt",)),),
        GENERATING,
        streams=True,
    ),
    ("post", "/v1/chat/completions"): Operation(
        "Answers a conversation.",
        answers.ChatCompletionAnswer,
        (Body(ChatCompletionRequest, UNSUPPORTED_CHAT),),
        GENERATING,
        streams=True,
    ),
    ("post", "/v1/responses"): Operation(
        "Answers an input; nothing is stored.",
        answers.ResponseAnswer,
        (Body(ResponsesRequest, UNSUPPORTED_RESPONSES, ("input",)),),
        GENERATING,
        streams=True,
    ),
    ("post", "/v1/embeddings"): Operation(
        "A vector for each input.",
        answers.EmbeddingsAnswer,
        (Body(EmbeddingRequest, UNSUPPORTED_EMBEDDINGS, ("input",)),),
        GENERATING,
    ),
    ("post", "/tokenize"): Operation(
        "The token ids of a text or a conversation.",
        answers.TokenizeAnswer,
        (Body(TokenizeTextRequest), Body(TokenizeChatRequest, UNSUPPORTED_TOKENIZE)),
        READING,
    ),
    ("post", "/detokenize"): Operation(
        "The text of token ids.", answers.DetokenizeAnswer, (Body(DetokenizeRequest),), READING
    ),
    ("get", "/startupz"): Operation("200 once a step has run.", TEXT, unready=TEXT),
    ("get", "/livez"): Operation("200 while the step loop moves.", TEXT, unready=TEXT),
    ("get", "/readyz"): Operation("200 while new requests are admitted.", TEXT, unready=TEXT),
    ("get", "/health"): _PROBE,
    ("get", "/ping"): _PROBE,
    ("post", "/ping"): _PROBE,
    ("get", "/version"): Operation("The version of Plimsoll.", answers.VersionAnswer),
    ("get", "/metrics"): Operation("Prometheus' text format.", TEXT),
    ("get", "/openapi.json"): Operation("This description.", "application/json"),
}

"""What /tokenize and /detokenize are sent, with vLLM's fields."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from plimsoll_runtime.server.protocol import ConversationRequest, Name, TokenId

MAX_TOKENS = 2**20
"""More than fits a body whatever the model's context is."""

UNSUPPORTED_TOKENIZE: dict[str, tuple[object, ...]] = {
    "add_special_tokens": (None, False),
    "chat_template": (None,),
    "continue_final_message": (None, False),
}


class TokenizeTextRequest(BaseModel):
    """A text."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: Name | None = None
    prompt: str
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class TokenizeChatRequest(ConversationRequest):
    """A conversation."""

    model: Name | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(BaseModel):
    """Token ids, at most as many as the model's context has."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: Name | None = None
    tokens: Annotated[list[TokenId], Field(max_length=MAX_TOKENS, fail_fast=True)]

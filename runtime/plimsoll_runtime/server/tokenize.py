"""POST /tokenize and /detokenize, with vLLM's fields."""

from functools import partial

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from plimsoll_runtime.server.body import read_object
from plimsoll_runtime.server.context import context_of
from plimsoll_runtime.server.conversation import conversation_of, prompt_tokens
from plimsoll_runtime.server.errors import bad_request
from plimsoll_runtime.server.tokenize_protocol import (
    UNSUPPORTED_TOKENIZE,
    DetokenizeRequest,
    TokenizeChatRequest,
    TokenizeTextRequest,
)
from plimsoll_runtime.server.validation import check_length, check_token_ids, parse_body

router = APIRouter()


@router.post("/tokenize")
async def tokenize(request: Request) -> Response:
    """The token ids of a text, or of a conversation as the model would see it."""
    context = context_of(request)
    raw = await read_object(request)
    chat: TokenizeChatRequest | None = None
    if "messages" in raw:
        if "prompt" in raw:
            raise bad_request("prompt: give either prompt or messages, not both", param="prompt")
        chat = parse_body(raw, TokenizeChatRequest, UNSUPPORTED_TOKENIZE)
        context.check_model(chat.model)
        with_strings = chat.return_token_strs
        ids = await prompt_tokens(context, conversation_of(chat, with_tools=True))
    else:
        body = parse_body(raw, TokenizeTextRequest, {})
        context.check_model(body.model)
        with_strings = body.return_token_strs
        check_length(context.tokenizer, body.prompt, context.limits.max_model_len)
        encode = partial(
            context.tokenizer.encode, body.prompt, body.add_special_tokens is not False
        )
        ids = await context.run_text(encode, len(body.prompt))
    answer = {
        "count": len(ids),
        "max_model_len": context.limits.max_model_len,
        "tokens": ids,
        "token_strs": context.tokenizer.tokens(ids) if with_strings else None,
    }
    return Response(orjson.dumps(answer), media_type="application/json")


@router.post("/detokenize")
async def detokenize(request: Request) -> Response:
    """The text of token ids, special tokens included."""
    context = context_of(request)
    body = parse_body(await read_object(request), DetokenizeRequest, {})
    context.check_model(body.model)
    if len(body.tokens) > context.limits.max_model_len:
        raise bad_request(
            f"tokens: {len(body.tokens)} tokens; at most {context.limits.max_model_len}, the "
            "model's context",
            param="tokens",
        )
    check_token_ids(body.tokens, context.limits.vocab_size, "tokens")
    decode = partial(context.tokenizer.decode, body.tokens, skip_special_tokens=False)
    text = await context.run_text(decode, len(body.tokens))
    return Response(orjson.dumps({"prompt": text}), media_type="application/json")

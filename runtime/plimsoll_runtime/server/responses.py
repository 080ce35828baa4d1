"""POST /v1/responses, for text. Nothing is stored."""

import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from plimsoll_runtime.server.answers import Choice, Json
from plimsoll_runtime.server.body import read_object
from plimsoll_runtime.server.context import context_of
from plimsoll_runtime.server.conversation import Conversation, prompt_tokens
from plimsoll_runtime.server.errors import APIError, bad_request, shown
from plimsoll_runtime.server.generation import Generation
from plimsoll_runtime.server.protocol import ChatMessage, GenerationRequest
from plimsoll_runtime.server.response_object import ResponseEvents, ResponseObject
from plimsoll_runtime.server.responses_protocol import (
    UNSUPPORTED_RESPONSES,
    InputMessages,
    ResponsesRequest,
)
from plimsoll_runtime.server.streaming import EventStream, named_event, until_disconnect
from plimsoll_runtime.server.submission import submit
from plimsoll_runtime.server.validation import parse_body

logger = logging.getLogger(__name__)

FIELDS = {"prompt": "input", "max_tokens": "max_output_tokens"}
"""What this API calls other APIs' fields."""

router = APIRouter()


@router.post("/v1/responses")
async def responses(request: Request) -> Response:
    """Answers `input`, under `instructions` if there are any."""
    context = context_of(request)
    arrival_time = context.client.time()
    raw = await read_object(request)
    body = parse_body(raw, ResponsesRequest, UNSUPPORTED_RESPONSES)
    context.check_model(body.model)
    conversation = Conversation(_messages(body), param="input")
    sampling = GenerationRequest(
        temperature=body.temperature, top_p=body.top_p, cache_salt=body.cache_salt
    )
    with _fields_named_as_here():
        prompt = await prompt_tokens(context, conversation)
        generation = submit(
            request, sampling, [prompt], [body.max_output_tokens], arrival_time=arrival_time
        )
    answer = ResponseObject(
        request.scope["request_id"], body, context.settings.name, int(time.time())
    )
    if body.stream:
        return EventStream(_stream(generation, ResponseEvents(answer)), generation.close)
    whole = await until_disconnect(request.receive, _collect(generation, answer))
    return Response(orjson.dumps(whole), media_type="application/json")


@contextmanager
def _fields_named_as_here() -> Iterator[None]:
    try:
        yield
    except APIError as error:
        error.param = FIELDS.get(error.param or "", error.param)
        raise


async def _collect(generation: Generation, answer: ResponseObject) -> Json:
    choice = Choice()
    try:
        async for delta in generation.deltas():
            choice.add(delta)
    finally:
        generation.close()
    reason = choice.last.finish_reason if choice.last else None
    return answer.ended("".join(choice.text), reason, generation.usage)


async def _stream(generation: Generation, events: ResponseEvents) -> AsyncIterator[bytes]:
    """The answer as typed server-sent events; an error is the last."""
    choice = Choice()
    for each in events.begin():
        yield named_event(each["type"], each)
    try:
        async for delta in generation.deltas():
            choice.add(delta)
            if delta.text:
                each = events.text(delta.text)
                yield named_event(each["type"], each)
        reason = choice.last.finish_reason if choice.last else None
        last = events.end("".join(choice.text), reason, generation.usage)
    except APIError as error:
        last = [events.fail(error.message)]
    except Exception:
        logger.exception("a stream failed")
        last = [events.fail("internal error; the request can be sent again")]
    for each in last:
        yield named_event(each["type"], each)


def _messages(body: ResponsesRequest) -> list[ChatMessage]:
    """Instructions and input as a conversation. Raises APIError 400."""
    given = body.input
    messages: list[ChatMessage] = []
    if body.instructions is not None:
        messages.append(ChatMessage(role="system", content=body.instructions))
    if isinstance(given, str):
        return [*messages, ChatMessage(role="user", content=given)]
    if not isinstance(given, list):
        raise bad_request(
            f"input: must be text or a list of messages, not {shown(given)}", param="input"
        )
    for index, item in enumerate(given):
        kind = item.get("type") if isinstance(item, dict) else None
        if kind not in (None, "message"):
            raise bad_request(
                f"input.{index}: only items of type 'message' are supported, not {shown(kind)}",
                param=f"input.{index}.type",
            )
    return messages + [
        ChatMessage(role=message.role, content=message.content)
        for message in parse_body({"input": given}, InputMessages, {}).input
    ]

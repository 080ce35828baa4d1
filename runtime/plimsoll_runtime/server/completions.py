"""POST /v1/completions."""

from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from plimsoll_runtime.server.answers import Choice, Json, collect, head, stream
from plimsoll_runtime.server.body import read_object
from plimsoll_runtime.server.context import Context, context_of
from plimsoll_runtime.server.errors import bad_request, shown
from plimsoll_runtime.server.protocol import (
    MAX_PROMPTS,
    UNSUPPORTED_COMPLETION,
    CompletionRequest,
)
from plimsoll_runtime.server.sequence import Delta
from plimsoll_runtime.server.streaming import EventStream, until_disconnect
from plimsoll_runtime.server.submission import submit
from plimsoll_runtime.server.validation import (
    check_length,
    check_token_ids,
    context_too_long,
    parse_request,
)

DEFAULT_MAX_TOKENS = 16
"""OpenAI's default for completions."""

router = APIRouter()


@router.post("/v1/completions")
async def completions(request: Request) -> Response:
    """Continues each prompt, given as text or as token ids."""
    context = context_of(request)
    arrival_time = context.client.time()
    body = parse_request(await read_object(request), CompletionRequest, UNSUPPORTED_COMPLETION)
    context.check_model(body.model)
    prompts = await _token_ids(context, body)
    limits = [_max_tokens(body, len(each), context.limits.max_model_len) for each in prompts]
    generation = submit(request, body, prompts, limits, arrival_time=arrival_time)
    answer = CompletionFormat(
        head("cmpl", request.scope["request_id"], "text_completion", context.settings.name),
        generation.prompts if body.return_token_ids else None,
        generation.n,
    )
    if body.stream:
        usage = bool(body.stream_options and body.stream_options.include_usage)
        return EventStream(stream(generation, answer, usage), generation.close)
    whole = await until_disconnect(request.receive, collect(generation, answer))
    return Response(orjson.dumps(whole), media_type="application/json")


class CompletionFormat:
    """`prompts` are the prompts' token ids when the client asked for ids."""

    def __init__(self, head: Json, prompts: Any, n: int) -> None:
        self._head = head
        self._prompts = prompts
        self._n = n
        self._begun: set[int] = set()

    def whole(self, choices: list[Choice]) -> Json:
        """A `text_completion`."""
        return self._head | {
            "choices": [
                self._choice(index, "".join(choice.text), choice.last, choice.token_ids, first=True)
                for index, choice in enumerate(choices)
            ]
        }

    def chunks(self, delta: Delta) -> list[Json]:
        """At most one chunk."""
        if not delta.text and delta.finish_reason is None and self._prompts is None:
            return []
        first = delta.index not in self._begun
        self._begun.add(delta.index)
        choice = self._choice(delta.index, delta.text, delta, list(delta.token_ids), first=first)
        return [self._head | {"choices": [choice]}]

    def empty(self) -> Json:
        """A chunk without choices."""
        return self._head | {"choices": []}

    def _choice(
        self, index: int, text: str, delta: Delta | None, token_ids: list[int], *, first: bool
    ) -> Json:
        choice: Json = {
            "index": index,
            "text": text,
            "logprobs": None,
            "finish_reason": delta.finish_reason if delta else None,
            "stop_reason": delta.stop_reason if delta else None,
        }
        if self._prompts is not None:
            choice["token_ids"] = token_ids
            choice["prompt_token_ids"] = self._prompts[index // self._n] if first else None
        return choice


def _max_tokens(body: CompletionRequest, num_prompt_tokens: int, max_model_len: int) -> int:
    if body.max_tokens is not None:
        return body.max_tokens
    return max(1, min(DEFAULT_MAX_TOKENS, max_model_len - num_prompt_tokens))


async def _token_ids(context: Context, body: CompletionRequest) -> list[list[int]]:
    """The prompts as token ids. Raises APIError 400 that says which prompt is at fault."""
    prompts = _prompts(body.prompt)
    add_special_tokens = body.add_special_tokens is not False
    result: list[list[int]] = []
    for prompt in prompts:
        if isinstance(prompt, str):
            check_length(context.tokenizer, prompt, context.limits.max_model_len)
            encode = partial(context.tokenizer.encode, prompt, add_special_tokens)
            ids = await context.run_text(encode, len(prompt))
        else:
            ids = prompt
        if not ids:
            raise bad_request("prompt: a prompt must have at least one token", param="prompt")
        if len(ids) >= context.limits.max_model_len:
            raise context_too_long(len(ids), context.limits.max_model_len)
        check_token_ids(ids, context.limits.vocab_size, "prompt")
        result.append(ids)
    return result


def _prompts(value: object) -> list[str] | list[list[int]]:
    """Text, a list of texts, token ids or a list of those, as a list of prompts."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if _is_ids(value):
            return [value]
        if isinstance(value[0], str | list):
            _check_count(value)
        if all(isinstance(each, str) for each in value):
            return value
        if all(isinstance(each, list) and _is_ids(each) for each in value):
            return value
    raise bad_request(
        "prompt: must be text, a list of texts, a list of token ids or a list of such lists, "
        f"none of them empty, not {shown(value)}",
        param="prompt",
    )


def _is_ids(value: list[object]) -> bool:
    return all(type(each) is int for each in value)


def _check_count(prompts: list[Any]) -> None:
    if len(prompts) > MAX_PROMPTS:
        raise bad_request(
            f"prompt: {len(prompts)} prompts; at most {MAX_PROMPTS} in one request", param="prompt"
        )

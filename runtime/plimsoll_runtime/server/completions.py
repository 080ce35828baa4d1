"""POST /v1/completions."""

from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from plimsoll_runtime.server.answers import Choice, Json, collect, head, stream
from plimsoll_runtime.server.bad_words import bad_word_ids
from plimsoll_runtime.server.body import read_object
from plimsoll_runtime.server.context import Context, context_of
from plimsoll_runtime.server.echo import Echo, echo
from plimsoll_runtime.server.errors import APIError, bad_request
from plimsoll_runtime.server.logprobs import LogprobsFormat, Scored
from plimsoll_runtime.server.prompts import PromptField, Prompts, prompt_ids, prompt_list
from plimsoll_runtime.server.protocol import (
    MAX_PROMPTS,
    UNSUPPORTED_COMPLETION,
    CompletionRequest,
)
from plimsoll_runtime.server.sequence import Delta
from plimsoll_runtime.server.streaming import EventStream, until_disconnect
from plimsoll_runtime.server.structured import grammar_of
from plimsoll_runtime.server.submission import submit
from plimsoll_runtime.server.validation import (
    Extras,
    check_scored,
    context_too_long,
    parse_request,
)

DEFAULT_MAX_TOKENS = 16
"""OpenAI's default for completions."""
CHARACTERS_PER_TOKEN = 16
"""Text whose tokenization takes about as long as putting a token back into text."""

router = APIRouter()


@router.post("/v1/completions")
async def completions(request: Request) -> Response:
    """Continues each prompt, given as text or as token ids."""
    context = context_of(request)
    arrival_time = context.client.time()
    body = parse_request(await read_object(request), CompletionRequest, UNSUPPORTED_COMPLETION)
    context.check_model(body.model)
    if body.max_tokens == 0 and not body.echo:
        raise bad_request("max_tokens: 0 is only allowed with echo true", param="max_tokens")
    # With echo, logprobs are the prompt's as well.
    asked = [body.prompt_logprobs, body.logprobs if body.echo else None]
    extras = Extras(
        logprobs=body.logprobs,
        prompt_logprobs=max((each for each in asked if each is not None), default=None),
        grammar=await grammar_of(context, body.response_format),
        bad_words=bad_word_ids(context.tokenizer, body.bad_words or ()),
    )
    listed = prompt_list(body.prompt, "prompt", MAX_PROMPTS)
    prompts = await _token_ids(context, body, listed)
    check_scored((body.n or 1) * sum(map(len, prompts)), extras)
    echoes = await _echoes(context, body, listed, prompts) if body.echo else None
    limits = [_max_tokens(body, len(each), context.limits.max_model_len) for each in prompts]
    generation = submit(request, body, prompts, limits, arrival_time=arrival_time, extras=extras)
    answer = CompletionFormat(
        head("cmpl", request.scope["request_id"], "text_completion", context.settings.name),
        generation.prompts if body.return_token_ids else None,
        generation.n,
        Shown(
            LogprobsFormat(context.token_text, bool(body.return_tokens_as_token_ids)),
            body.logprobs,
            body.prompt_logprobs,
            echoes,
        ),
    )
    if body.stream:
        usage = bool(body.stream_options and body.stream_options.include_usage)
        return EventStream(stream(generation, answer, usage), generation.close)
    whole = await until_disconnect(request.receive, collect(generation, answer))
    return Response(orjson.dumps(whole), media_type="application/json")


@dataclass(frozen=True)
class Shown:
    """What a client wants to see beside the answers: the prompts before them, and how likely
    tokens were, with so many others each; None shows nothing."""

    format: LogprobsFormat
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    echoes: list[Echo] | None = None


class CompletionFormat:
    """`prompts` are the prompts' token ids when the client asked for ids."""

    def __init__(self, head: Json, prompts: Any, n: int, shown: Shown) -> None:
        self._head = head
        self._prompts = prompts
        self._n = n
        self._shown = shown
        self._begun: set[int] = set()

    def whole(self, choices: list[Choice]) -> Json:
        """A `text_completion`."""
        return self._head | {
            "choices": [
                self._choice(index, choice, first=True) for index, choice in enumerate(choices)
            ]
        }

    def chunks(self, delta: Delta) -> list[Json]:
        """At most one chunk."""
        first = delta.choice not in self._begun
        tells = delta.text or delta.logprobs or (first and self._shown.echoes)
        if not tells and delta.finish_reason is None and self._prompts is None:
            return []
        self._begun.add(delta.choice)
        choice = Choice()
        choice.add(delta)
        return [self._head | {"choices": [self._choice(delta.choice, choice, first=first)]}]

    def empty(self) -> Json:
        """A chunk without choices."""
        return self._head | {"choices": []}

    def _choice(self, index: int, choice: Choice, *, first: bool) -> Json:
        """`first` is whether nothing of this choice has been sent."""
        last = choice.last
        echoes = self._shown.echoes
        shown = echoes[index // self._n] if echoes is not None else None
        body: Json = {
            "index": index,
            "text": (shown.text if shown and first else "") + "".join(choice.text),
            "logprobs": self._logprobs(choice, shown, first=first),
            "finish_reason": last.finish_reason if last else None,
            "stop_reason": last.stop_reason if last else None,
        }
        if self._shown.prompt_logprobs is not None:
            body["prompt_logprobs"] = self._shown.format.prompt(
                choice.prompt_logprobs, self._shown.prompt_logprobs
            )
        if self._prompts is not None:
            body["token_ids"] = choice.token_ids
            body["prompt_token_ids"] = self._prompts[index // self._n] if first else None
        return body

    def _logprobs(self, choice: Choice, shown: Echo | None, *, first: bool) -> Json | None:
        if self._shown.logprobs is None:
            return None
        scored: list[Scored] = []
        if shown is not None and first:
            told = [None, *choice.prompt_logprobs]
            scored += map(Scored, shown.token_ids, told, shown.offsets)
        begin = len(shown.text) if shown is not None else 0
        offsets = [begin + each for each in choice.offsets]
        scored += map(Scored, choice.token_ids, choice.logprobs, offsets)
        return self._shown.format.completion(scored, self._shown.logprobs)


async def _echoes(
    context: Context, body: CompletionRequest, listed: Prompts, prompts: list[list[int]]
) -> list[Echo]:
    """How each prompt is shown before its answers."""
    skip = body.skip_special_tokens is not False

    def show() -> list[Echo]:
        return [
            echo(context.tokenizer, ids, text if isinstance(text, str) else None, skip)
            for ids, text in zip(prompts, listed, strict=True)
        ]

    return await context.run_text(show, CHARACTERS_PER_TOKEN * sum(map(len, prompts)))


def _max_tokens(body: CompletionRequest, num_prompt_tokens: int, max_model_len: int) -> int:
    if body.max_tokens is not None:
        return body.max_tokens
    return max(1, min(DEFAULT_MAX_TOKENS, max_model_len - num_prompt_tokens))


async def _token_ids(context: Context, body: CompletionRequest, listed: Prompts) -> list[list[int]]:
    longest = context.limits.max_model_len - 1

    def too_long(num_tokens: int | str) -> APIError:
        return context_too_long(num_tokens, context.limits.max_model_len)

    field = PromptField("prompt", longest, too_long)
    return await prompt_ids(context, listed, field, body.add_special_tokens is not False)

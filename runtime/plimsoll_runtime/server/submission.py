"""From a checked request and its prompts to sequences that run."""

from collections.abc import Sequence as Items

from starlette.requests import Request

from plimsoll_runtime.server.cache_salt import cache_salt
from plimsoll_runtime.server.context import context_of
from plimsoll_runtime.server.generation import Generation, Job
from plimsoll_runtime.server.origin import origin_of
from plimsoll_runtime.server.protocol import GenerationRequest
from plimsoll_runtime.server.sequence import TextOptions
from plimsoll_runtime.server.validation import (
    NO_EXTRAS,
    Extras,
    sampling_params,
    text_options,
)


def submit(  # noqa: PLR0913 - what APIs differ in
    request: Request,
    body: GenerationRequest,
    prompts: Items[list[int]],
    max_tokens: Items[int | None],
    *,
    arrival_time: float,
    extras: Extras = NO_EXTRAS,
    options: TextOptions | None = None,
) -> Generation:
    """Starts `body.n` answers to each prompt, of at most `max_tokens[i]` for prompt i.

    Raises APIError.
    """
    context = context_of(request)
    return Generation(
        context.client,
        context.metrics,
        context.tokenizer,
        Job(
            request_id=request.scope["request_id"],
            arrival_time=arrival_time,
            prompts=prompts,
            sampling=[
                sampling_params(body, len(prompt), limit, context.limits, extras)
                for prompt, limit in zip(prompts, max_tokens, strict=True)
            ],
            n=body.n or 1,
            options=options or text_options(body),
            cache_salt=cache_salt(request.headers, body.cache_salt),
            origin=origin_of(request, body.priority),
        ),
    )

"""Answers of both APIs, whole or streamed, in OpenAI's shapes."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from plimsoll_runtime.core.request import TokenLogprobs
from plimsoll_runtime.server.errors import APIError
from plimsoll_runtime.server.generation import Generation, Usage
from plimsoll_runtime.server.sequence import Delta
from plimsoll_runtime.server.streaming import DONE, event

logger = logging.getLogger(__name__)

Json = dict[str, Any]

MAX_INLINE_SCORED = 4096
"""Scored prompt tokens that are written on the event loop; for more, others would wait."""


@dataclass
class Choice:
    """A choice that has ended, or that has so far."""

    text: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()
    last: Delta | None = None

    def add(self, delta: Delta) -> None:
        """Appends a delta."""
        self.text.append(delta.text)
        self.token_ids.extend(delta.token_ids)
        self.offsets.extend(delta.offsets)
        self.logprobs.extend(delta.logprobs or ())
        self.prompt_logprobs += delta.prompt_logprobs
        self.last = delta


class Format(Protocol):
    """How one API writes an answer. One object for each answer; it remembers what it sent."""

    def whole(self, choices: list[Choice]) -> Json:
        """The answer without streaming; `usage` is added."""

    def chunks(self, delta: Delta) -> list[Json]:
        """The chunks for a delta; none when it shows nothing."""

    def empty(self) -> Json:
        """A chunk without choices, for the usage at the end."""


def head(prefix: str, request_id: str, kind: str, model: str) -> Json:
    """The fields that every answer and chunk begins with."""
    return {
        "id": f"{prefix}-{request_id}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def usage_body(usage: Usage) -> Json:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


async def collect(generation: Generation, answer: Format) -> Json:
    """The whole answer. Raises APIError when the engine fails."""
    choices = [Choice() for _ in range(len(generation.prompts) * generation.n)]
    try:
        async for delta in generation.deltas():
            choices[delta.choice].add(delta)
        scored = sum(len(choice.prompt_logprobs) for choice in choices)
        if scored > MAX_INLINE_SCORED:
            whole = await asyncio.to_thread(answer.whole, choices)
        else:
            whole = answer.whole(choices)
        return whole | {"usage": usage_body(generation.usage)}
    finally:
        generation.close()


async def stream(
    generation: Generation, answer: Format, include_usage: bool
) -> AsyncIterator[bytes]:
    """The answer as server-sent events, an error as the last but one."""
    usage: Json = {"usage": None} if include_usage else {}
    try:
        async for delta in generation.deltas():
            for chunk in answer.chunks(delta):
                yield event(chunk | usage)
        if include_usage:
            yield event(answer.empty() | {"usage": usage_body(generation.usage)})
    except APIError as error:
        yield event(error.body())
    except Exception:
        logger.exception("a stream failed")
        yield event(APIError(500, "internal error; the request can be sent again").body())
    yield DONE

"""Prompts that the engine computes and answers with a vector each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from starlette.requests import Request as HTTPRequest

from plimsoll_runtime.core.request import FinishReason, Request, SamplingParams
from plimsoll_runtime.server.cache_salt import cache_salt
from plimsoll_runtime.server.context import Context, context_of
from plimsoll_runtime.server.engine_client import Arrival
from plimsoll_runtime.server.generation import failure
from plimsoll_runtime.server.origin import origin_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Vector: TypeAlias = "NDArray[np.float32]"


async def pooled_prompts(
    request: HTTPRequest,
    prompts: Sequence[list[int]],
    salt: str | None,
    priority: int | None,
    arrival_time: float,
) -> list[Vector]:
    """What the model's pooling makes of each prompt, `[hidden]`, of any length.

    Raises APIError as `Generation` does. Cancelled, it aborts what is unfinished.
    """
    import numpy as np  # here, as most servers never need it, nor its memory

    context = context_of(request)
    origin = origin_of(request, priority)
    requests = [
        Request(
            f"{request.scope['request_id']}-{index}",
            prompt,
            SamplingParams(max_tokens=0, pooling=context.settings.pooling),
            arrival_time,
            priority=origin.priority,
            cache_salt=cache_salt(request.headers, salt),
            tenant=origin.tenant,
        )
        for index, prompt in enumerate(prompts)
    ]
    ticket = context.client.submit(requests, origin.max_wait)
    unfinished = {each.request_id: each for each in requests}
    size = context.engine.model_config.hidden_size
    sums = {each.request_id: np.zeros(size, np.float32) for each in requests}
    try:
        while unfinished:
            for arrival in await ticket.take():
                output = arrival.output
                if output.pooled:
                    sums[output.request_id] += np.frombuffer(output.pooled, "<f4")
                if output.finish_reason is None:
                    continue
                ended = unfinished.pop(output.request_id)
                if output.finish_reason is not FinishReason.LENGTH:
                    context.metrics.ended(FinishReason.ERROR)
                    raise failure(output)
                _observe(context, ended, arrival)
    finally:
        context.client.drop(ticket)
        for _ in unfinished:
            context.metrics.ended(FinishReason.ABORT)
    return [sums[each.request_id] for each in requests]


def _observe(context: Context, request: Request, arrival: Arrival) -> None:
    metrics, output = context.metrics, arrival.output
    metrics.ended(FinishReason.LENGTH)
    metrics.prompt_tokens.inc(request.num_tokens)
    metrics.prompt_tokens_cached.inc(output.cached_tokens)
    metrics.request_prompt_tokens.observe(request.num_tokens)
    metrics.request_generation_tokens.observe(0)
    metrics.e2e_latency.observe(arrival.time - request.arrival_time)
    began = output.first_scheduled_time
    if began is not None:
        metrics.queue_time.observe(began - request.arrival_time)
        metrics.prefill_time.observe(arrival.time - began)
        metrics.inference_time.observe(arrival.time - began)

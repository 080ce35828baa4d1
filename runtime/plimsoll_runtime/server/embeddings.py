"""POST /v1/embeddings."""

import asyncio
from base64 import b64encode

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from plimsoll_runtime.server.answers import Json
from plimsoll_runtime.server.body import read_object
from plimsoll_runtime.server.context import Context, context_of
from plimsoll_runtime.server.embeddings_protocol import (
    MAX_INPUTS,
    UNSUPPORTED_EMBEDDINGS,
    EmbeddingRequest,
)
from plimsoll_runtime.server.errors import APIError, bad_request
from plimsoll_runtime.server.pooling import Vector, pooled_prompts
from plimsoll_runtime.server.prompts import PromptField, prompt_ids, prompt_list
from plimsoll_runtime.server.streaming import until_disconnect
from plimsoll_runtime.server.validation import parse_body

MAX_NUMBERS = 2**23
"""In all vectors of one answer before they are cut to `dimensions`: 32 MiB in fp32."""
MAX_INLINE_NUMBERS = 2**16
"""That are written on the event loop; for more, others would wait."""

router = APIRouter()


@router.post("/v1/embeddings")
async def embeddings(request: Request) -> Response:
    """A vector of length 1 for each input, given as text or as token ids."""
    context = context_of(request)
    arrival_time = context.client.time()
    body = parse_body(await read_object(request), EmbeddingRequest, UNSUPPORTED_EMBEDDINGS)
    context.check_model(body.model)
    size = context.engine.model_config.hidden_size
    if body.dimensions is not None and body.dimensions > size:
        raise bad_request(
            f"dimensions: the model's vectors have {size}, not {body.dimensions}",
            param="dimensions",
        )
    prompts = await _token_ids(context, body, size)
    work = pooled_prompts(request, prompts, body.cache_salt, body.priority, arrival_time)
    vectors = await until_disconnect(request.receive, work)
    count = sum(map(len, prompts))
    answer = {
        "object": "list",
        "model": context.settings.name,
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }

    def written() -> bytes:
        wanted = [unit_vector(each[: body.dimensions]) for each in vectors]
        data = _listed(wanted, as_text=body.encoding_format == "base64")
        return orjson.dumps(answer | {"data": data}, option=orjson.OPT_SERIALIZE_NUMPY)

    inline = len(vectors) * size <= MAX_INLINE_NUMBERS
    content = written() if inline else await asyncio.to_thread(written)
    return Response(content, media_type="application/json")


def unit_vector(vector: Vector) -> Vector:
    """The same direction with length 1; zeros stay zeros."""
    import numpy as np

    exact = vector.astype(np.float64)
    length = np.linalg.norm(exact)
    return (exact / length if length else exact).astype("<f4")


async def _token_ids(context: Context, body: EmbeddingRequest, size: int) -> list[list[int]]:
    longest = context.limits.max_model_len

    def too_long(num_tokens: int | str) -> APIError:
        return bad_request(
            f"input: this model's maximum context length is {longest} tokens, and an input has "
            f"{num_tokens}: shorten it",
            param="input",
            code="context_length_exceeded",
        )

    listed = prompt_list(body.input, "input", min(MAX_INPUTS, max(1, MAX_NUMBERS // size)))
    field = PromptField("input", longest, too_long)
    return await prompt_ids(context, listed, field, body.add_special_tokens is not False)


def _listed(vectors: list[Vector], *, as_text: bool) -> list[Json]:
    return [
        {
            "object": "embedding",
            "index": index,
            "embedding": b64encode(vector.tobytes()).decode() if as_text else vector,
        }
        for index, vector in enumerate(vectors)
    ]

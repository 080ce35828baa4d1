"""Reads the JSON object that a request carries."""

import asyncio
from typing import Any

from starlette.requests import ClientDisconnect, Request

from plimsoll_runtime.server.context import context_of
from plimsoll_runtime.server.errors import APIError
from plimsoll_runtime.server.json_body import parse_object
from plimsoll_runtime.server.streaming import ClientLeftError

BODY_TIMEOUT = 60.0
"""Seconds in which a body must have arrived."""


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises APIError: 400, 408, 413 or 415."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        # Anything else could be sent by a form on any web page without the browser asking.
        raise APIError(415, "the body must be JSON: send the header Content-Type: application/json")
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            body = await request.body()
    except TimeoutError as error:
        raise APIError(
            408,
            f"the body did not arrive within {BODY_TIMEOUT:.0f} s",
            headers={"Connection": "close"},
        ) from error
    except ClientDisconnect as error:
        raise ClientLeftError from error
    return await context_of(request).run_text(lambda: parse_object(body), len(body))

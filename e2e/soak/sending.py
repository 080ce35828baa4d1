"""Sends a request and says what is wrong with its answer."""

import asyncio
import json
from contextlib import suppress

import httpx

from e2e.soak.requests import Shot

TIMEOUT = 120.0
RESPONSE_ENDS = ('data: {"type":"response.completed"', 'data: {"type":"response.incomplete"')
ERROR = 'data: {"error"'
LEFT = 0
"""The status of an answer that the client did not wait for."""


def client(url: str, connections: int) -> httpx.AsyncClient:
    """A client that keeps its connections, as SDKs do."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(base_url=url, timeout=TIMEOUT, limits=limits)


async def send(to: httpx.AsyncClient, shot: Shot) -> tuple[int, str]:
    """The status, and what is wrong, empty when nothing is."""
    try:
        if shot.leaves_after is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(shot.leaves_after):
                    await _answer(to, shot)
            return LEFT, ""
        answer = await _answer(to, shot)
    except httpx.HTTPError as error:
        return LEFT, f"{type(error).__name__}: {error}"
    if answer.status_code not in shot.statuses:
        return answer.status_code, f"{answer.status_code}: {answer.text[:300]}"
    return answer.status_code, fault(answer)


async def _answer(to: httpx.AsyncClient, shot: Shot) -> httpx.Response:
    headers = {"content-type": "application/json", **shot.headers}
    return await to.request(shot.method, shot.path, content=shot.content, headers=headers)


def fault(answer: httpx.Response) -> str:
    """What is wrong with an answer of the right status."""
    kind = answer.headers.get("content-type", "")
    if kind.startswith("text/event-stream"):
        lines = [line for line in answer.text.splitlines() if line]
        last = lines[-1] if lines else ""
        if any(line.startswith(ERROR) for line in lines):
            return f"the stream has an error: {lines[-2:]}"
        # /v1/responses has no [DONE]: its last event is the whole answer, cut short or not.
        if last != "data: [DONE]" and not last.startswith(RESPONSE_ENDS):
            return f"the stream ends with {last[:200]!r}"
    elif kind.startswith("application/json"):
        return _json_fault(answer)
    return ""


def _json_fault(answer: httpx.Response) -> str:
    body = json.loads(answer.content)
    if answer.status_code >= httpx.codes.BAD_REQUEST and not body["error"]["message"]:
        return f"an error that says nothing: {body}"
    return ""

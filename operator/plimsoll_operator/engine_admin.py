"""Engines' admin port: reads and changes limits."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from plimsoll_operator.engine_http import bounded_text, http_client, url_of
from plimsoll_operator.engine_token import bearer
from plimsoll_operator.excerpt import excerpt
from plimsoll_operator.live_limits import EngineReport
from plimsoll_runtime.core.limits import LiveLimits

TIMEOUT_SECONDS = 2.0
MAX_BYTES = 1 << 16
MAX_CONCURRENT = 64
PATH = "/admin/limits"


class AdminError(Exception):
    """An engine did not answer, or not with limits; the message names no address."""


class EngineAdmin:
    """Speaks to engines by pod address; `token` is asked for at every call, as it is renewed."""

    def __init__(self, port: int, token: Callable[[], str | None]) -> None:
        self._port = port
        self._token = token
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._client = http_client(TIMEOUT_SECONDS)

    async def close(self) -> None:
        """Drops connections."""
        await self._client.aclose()

    async def limits(self, address: str) -> EngineReport:
        """The limits in force. Raises AdminError."""
        return await self._call("GET", address, None)

    async def set_limits(self, address: str, limits: LiveLimits) -> EngineReport:
        """Changes them; the answer is what is in force then. Raises AdminError."""
        return await self._call("PUT", address, limits._asdict())

    async def _call(
        self, method: str, address: str, body: Mapping[str, int] | None
    ) -> EngineReport:
        headers = bearer(self._token())
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        url = url_of(address, self._port, PATH)
        try:
            async with (
                self._slots,
                asyncio.timeout(TIMEOUT_SECONDS),
                self._client.stream(method, url, headers=headers, content=content) as response,
            ):
                text = await bounded_text(response, MAX_BYTES)
        except TimeoutError as error:
            raise AdminError(f"no answer within {TIMEOUT_SECONDS:g} s") from error
        except httpx.HTTPError as error:
            raise AdminError(f"admin port not reachable ({type(error).__name__})") from error
        if text is None:
            raise AdminError(f"{PATH} answers with more than {MAX_BYTES} bytes")
        if response.status_code != 200:
            raise AdminError(f"HTTP {response.status_code} {_message(text)}".rstrip())
        try:
            return _report(json.loads(text))
        except (ValueError, TypeError, KeyError) as error:
            raise AdminError(f"{PATH} does not answer with limits") from error


def _report(answer: Mapping[str, Any]) -> EngineReport:
    block_size = int(answer["block_size"])
    if block_size < 1:
        raise ValueError(block_size)
    return EngineReport(_limits(answer), _limits(answer["most"]), block_size)


def _limits(values: Mapping[str, Any]) -> LiveLimits:
    return LiveLimits(*(int(values[name]) for name in LiveLimits._fields))


def _message(text: str) -> str:
    """What an error in OpenAI's shape says; other people's text is cut short."""
    try:
        return excerpt(str(json.loads(text)["error"]["message"]))
    except (ValueError, TypeError, KeyError):
        return ""

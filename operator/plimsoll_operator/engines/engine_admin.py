"""Engines' admin port: reads and changes limits and drains."""

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx

from plimsoll_operator.engines.engine_http import bounded_text, http_client, url_of
from plimsoll_operator.engines.engine_token import bearer
from plimsoll_operator.rollouts.live_limits import EngineReport
from plimsoll_operator.scaling.victims import DrainReport
from plimsoll_operator.status.excerpt import excerpt
from plimsoll_runtime.core.limits import LiveLimits

TIMEOUT_SECONDS = 2.0
MAX_BYTES = 1 << 16
MAX_CONCURRENT = 64
LIMITS_PATH = "/admin/limits"
DRAIN_PATH = "/admin/drain"

T = TypeVar("T")


class AdminError(Exception):
    """An engine did not answer, or not with what was asked; the message names no address."""


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
        return await self._call("GET", address, LIMITS_PATH, _limits_report)

    async def set_limits(self, address: str, limits: LiveLimits) -> EngineReport:
        """Changes them; the answer is what is in force then. Raises AdminError."""
        return await self._call("PUT", address, LIMITS_PATH, _limits_report, limits._asdict())

    async def drain_report(self, address: str) -> DrainReport:
        """Whether the engine drains, and what is in flight. Raises AdminError."""
        return await self._call("GET", address, DRAIN_PATH, _drain_report)

    async def drain(self, address: str, seconds: float) -> DrainReport:
        """Takes it out of service, for so long at most. Raises AdminError."""
        return await self._call("PUT", address, DRAIN_PATH, _drain_report, {"seconds": seconds})

    async def take_drain_back(self, address: str) -> DrainReport:
        """Puts it back into service. Raises AdminError."""
        return await self._call("DELETE", address, DRAIN_PATH, _drain_report)

    async def _call(
        self,
        method: str,
        address: str,
        path: str,
        read: Callable[[Mapping[str, Any]], T],
        body: Mapping[str, float] | None = None,
    ) -> T:
        headers = bearer(self._token())
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        url = url_of(address, self._port, path)
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
            raise AdminError(f"{path} answers with more than {MAX_BYTES} bytes")
        if response.status_code != 200:
            raise AdminError(f"HTTP {response.status_code} {_message(text)}".rstrip())
        try:
            return read(json.loads(text))
        except (ValueError, TypeError, KeyError) as error:
            raise AdminError(f"{path} does not answer with what it should") from error


def _limits_report(answer: Mapping[str, Any]) -> EngineReport:
    block_size = int(answer["block_size"])
    if block_size < 1:
        raise ValueError(block_size)
    return EngineReport(_limits(answer), _limits(answer["most"]), block_size)


def _drain_report(answer: Mapping[str, Any]) -> DrainReport:
    seconds, usage = float(answer["seconds"]), float(answer["kv_cache_usage"])
    unfinished = int(answer["running"]) + int(answer["waiting"])
    if not (
        math.isfinite(seconds) and math.isfinite(usage) and min(seconds, usage, unfinished) >= 0
    ):
        raise ValueError(answer)
    return DrainReport(seconds if answer["draining"] is True else None, unfinished, usage)


def _limits(values: Mapping[str, Any]) -> LiveLimits:
    return LiveLimits(*(int(values[name]) for name in LiveLimits._fields))


def _message(text: str) -> str:
    """What an error in OpenAI's shape says; other people's text is cut short."""
    try:
        return excerpt(str(json.loads(text)["error"]["message"]))
    except (ValueError, TypeError, KeyError):
        return ""

"""A reverse proxy between one operator and the API server, which can do what networks do.

It speaks plain HTTP on 127.0.0.1, to the operator as to `kubectl proxy`, which knows how to reach
the API server and as whom. What goes wrong is for a `Faults` to say.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType

import aiohttp
from aiohttp import web

from e2e.faults.plan import Fate, Faults, Peace

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
KEPT_HEADERS = ("Accept", "Content-Type", "User-Agent")
KEPT_LISTS = 8


@dataclass(frozen=True)
class Write:
    """A write that the API server has answered with `status`; `at` is monotonic seconds."""

    at: float
    method: str
    path: str
    status: int


class ApiProxy:
    """One operator's way to the API server at `upstream`.

    `after_write` is called when the API server has carried a write out and the operator does not
    know yet; with True the answer is never given.
    """

    def __init__(self, session: aiohttp.ClientSession, upstream: str) -> None:
        self.writes: list[Write] = []
        self.written = asyncio.Event()
        self.faults: Faults = Peace()
        self.after_write: Callable[[Write], Awaitable[bool]] | None = None
        self.port = 0
        self._session = session
        self._upstream = upstream
        self._era = 0
        self._lists: dict[str, list[bytes]] = {}
        # A handler ends when its client has left, also while it says nothing.
        server = web.Server(self._answer, access_log=None, handler_cancellation=True)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)

    async def __aenter__(self) -> "ApiProxy":
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()

    @property
    def kubeconfig(self) -> dict[str, object]:
        """A kubeconfig that leads here."""
        cluster = {"name": "faults", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}
        context = {"name": "faults", "context": {"cluster": "faults", "user": "faults"}}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "users": [{"name": "faults", "user": {}}],
            "contexts": [context],
            "current-context": "faults",
        }

    def silence_watches(self) -> None:
        """Watches that are open now stay open and say nothing more."""
        self._era += 1

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._handle(request)
        except ConnectionError:  # the operator has left, or we have hung up
            return web.Response(status=502)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        watch = request.query.get("watch") in ("1", "true")
        if watch:
            return await self._watch(request)
        write = request.method in WRITES
        fate = self.faults.request(_verb(request))
        if fate.silent:
            await asyncio.Event().wait()
        if fate.error is not None and not fate.too_late:
            return _refusal(fate)
        if fate.stale and self._lists.get(request.path_qs):
            earlier = self.faults.earlier(self._lists[request.path_qs])
            return web.Response(body=earlier, content_type="application/json")
        status, body = await self._forward(request)
        if write:
            done = Write(time.monotonic(), request.method, request.path, status)
            self.writes.append(done)
            self.written.set()
            if self.after_write is not None and await self.after_write(done):
                _hang_up(request)
        elif b'List"' in body[:200]:
            kept = self._lists.setdefault(request.path_qs, [])
            kept.append(body)
            del kept[:-KEPT_LISTS]
        if fate.error is not None:
            return _refusal(fate)
        return web.Response(status=status, body=body, content_type="application/json")

    async def _forward(self, request: web.BaseRequest) -> tuple[int, bytes]:
        body = await request.read()
        async with self._open(request, body) as answer:
            return answer.status, await answer.read()

    @contextlib.asynccontextmanager
    async def _open(
        self, request: web.BaseRequest, body: bytes = b""
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {name: request.headers[name] for name in KEPT_HEADERS if name in request.headers}
        async with self._session.request(
            request.method,
            self._upstream + request.path_qs,
            headers={**headers, "Accept-Encoding": "identity"},
            data=body or None,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        ) as answer:
            yield answer

    async def _watch(self, request: web.BaseRequest) -> web.StreamResponse:
        fate = self.faults.request("WATCH")
        if fate.silent:
            await asyncio.Event().wait()
        if fate.error == 410:
            return _expired()
        if fate.error is not None:
            return _refusal(fate)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        async with self._open(request) as answer:
            if answer.status != 200:
                body = await answer.read()
                return web.Response(
                    status=answer.status, body=body, content_type="application/json"
                )
            await response.prepare(request)
            era = self._era
            async for line in _lines(answer.content):
                event = self.faults.event() if era == self._era else "silence"
                if event == "drop":
                    continue
                if event == "cut":
                    await response.write(line[: len(line) // 2])
                    _hang_up(request)
                if event in ("fail", "garble"):
                    failed = _event(Fate(500)) if event == "fail" else line[: len(line) // 2]
                    await response.write(failed)
                    return response
                if event == "silence":
                    await asyncio.Event().wait()  # until the operator leaves
                await response.write(line)
        return response


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length, each with its end."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"


def _verb(request: web.BaseRequest) -> str:
    """What a request is, other than a watch."""
    if request.method != "GET":
        return request.method
    if "limit" in request.query:
        return "PAGE"
    # Beyond the names of an API group's version, which kopf asks for at its start.
    parts = request.path.strip("/").split("/")
    theirs = request.headers.get("User-Agent") != "plimsoll-operator"
    return "LIST" if theirs and len(parts) > (2 if parts[0] == "api" else 3) else "GET"


def _hang_up(request: web.BaseRequest) -> None:
    """Breaks the connection off, as when a process or a network goes. Always raises."""
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError


def _refusal(fate: Fate) -> web.Response:
    """An error as the API server words it."""
    headers = {"Retry-After": "1"} if fate.error == 429 else {}
    return web.json_response(_status(fate), status=fate.error or 500, headers=headers)


def _expired() -> web.Response:
    """A watch that ends at once, since what it would begin with is no longer known."""
    return web.Response(body=_event(Fate(410)), content_type="application/json")


def _event(fate: Fate) -> bytes:
    """An error as a watch words it."""
    return json.dumps({"type": "ERROR", "object": _status(fate)}).encode() + b"\n"


def _status(fate: Fate) -> dict[str, object]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "reason": fate.reason,
        "message": f"a fault of the proxy: {fate.reason}",
        "code": fate.error,
    }

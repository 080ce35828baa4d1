"""Pure ASGI middleware: request ids, draining, authentication, the body's limit."""

import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plimsoll_runtime.server.api_keys import ApiKeys
from plimsoll_runtime.server.errors import APIError
from plimsoll_runtime.server.lifecycle import Lifecycle
from plimsoll_runtime.server.origin import TENANT

PROBES = frozenset({"/startupz", "/livez", "/readyz", "/health", "/ping"})
OPEN_PATHS = PROBES | {"/metrics"}
MAX_BODY_BYTES = 4 * 2**20
MAX_DISCARDED_BYTES = 16 * 2**20


class RequestTracking:
    """Gives every request an id of the server's making and counts it in the lifecycle.

    While draining, every answer says `Connection: close`, so that clients come back elsewhere.
    """

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle) -> None:
        self.app = app
        self.lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = secrets.token_hex(16)
        scope["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                if self.lifecycle.draining:
                    headers["connection"] = "close"
            await send(message)

        if scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send_with_headers)
            return
        with self.lifecycle.request():
            await self.app(scope, receive, send_with_headers)


def bearer_key(headers: Headers) -> bytes | None:
    """The key in `Authorization: Bearer KEY`; None without such a header."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip().encode("latin-1") if scheme.lower() == "bearer" else None


class Authentication:
    """Denies every path but probes and metrics without `Authorization: Bearer KEY`.

    A key's tenant goes on in the scope.
    """

    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        self.app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Decides on the path that the router sees, never on a header."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._allowed(scope):
            await self.app(scope, receive, send)
            return
        error = APIError(
            401,
            "the API key is missing or wrong: send the header Authorization: Bearer KEY",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
        await error.response()(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        given = bearer_key(Headers(scope=scope))
        key = None if given is None else self._keys.find(given)
        if key is not None:
            scope[TENANT] = key.tenant
        return key is not None


class BodyLimit:
    """Ends reading a body over `limit` bytes with 413, whether its length was announced or not."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. The error is raised where the body is read, inside the app."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await self.app(scope, self._limited(receive), send)

    def _limited(self, receive: Receive) -> Receive:
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.limit:
                await _discard(receive, message)
                raise APIError(
                    413,
                    f"the body is larger than {self.limit} bytes: send less",
                    headers={"Connection": "close"},
                )
            return message

        return limited


async def _discard(receive: Receive, message: Message) -> None:
    """Reads on for a while, because a client that is still sending would not see the answer."""
    size = 0
    while message.get("more_body") and size < MAX_DISCARDED_BYTES:
        message = await receive()
        size += len(message.get("body", b""))

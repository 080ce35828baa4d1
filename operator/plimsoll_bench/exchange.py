"""One request on a connection of its own, and its answer as it comes."""

import asyncio
import ssl
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httptools

from plimsoll_bench.events import Answer, EventReader, StreamError

MOST_OF_AN_ERROR = 2000
"""Bytes that are kept of an answer that is no stream."""


class TargetError(ValueError):
    """That is no address of a server, or no certificate of one."""


@dataclass(frozen=True)
class Target:
    """A server: where, and what goes into the head of each request.

    `authority` is a file with the certificates (PEM) to trust; None trusts the system's.
    """

    host: str
    port: int
    tls: bool = False
    prefix: str = ""
    api_key: str | None = None
    authority: Path | None = None

    @classmethod
    def of(cls, url: str, api_key: str | None = None, authority: Path | None = None) -> "Target":
        """Of an address with or without `/v1` at its end. Raises TargetError."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError as error:
            raise TargetError(f"{url}: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise TargetError(f"{url}: give an address such as http://127.0.0.1:8000")
        tls = parts.scheme == "https"
        if authority is not None:
            if not tls:
                raise TargetError(
                    f"{url}: {authority} is for https: write https://, or leave it out"
                )
            _trusting(authority)
        prefix = parts.path.rstrip("/").removesuffix("/v1")
        return cls(parts.hostname, port or (443 if tls else 80), tls, prefix, api_key, authority)

    @cached_property
    def context(self) -> ssl.SSLContext | None:
        """None without TLS. Made once: reading the system's certificates takes tens of
        milliseconds, which would delay all requests that are due meanwhile."""
        return _trusting(self.authority) if self.tls else None

    def request(self, path: str, content: bytes = b"", method: str = "POST") -> bytes:
        """The bytes of a request."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [
            f"{method} {self.prefix}{path} HTTP/1.1",
            f"Host: {host}:{self.port}",
            "Content-Type: application/json",
            "Connection: close",
            f"Content-Length: {len(content)}",
        ]
        if self.api_key:
            lines.append(f"Authorization: Bearer {self.api_key}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


def _trusting(authority: Path | None) -> ssl.SSLContext:
    """Raises TargetError."""
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise TargetError(
            f"{authority}: cannot be used: {error.strerror or error}; give certificates in PEM"
        ) from error


class Exchange(asyncio.Protocol):
    """Sends a request once connected; `over` is done when the answer is, with what ended it."""

    def __init__(self, request: bytes, answer: Answer | None = None) -> None:
        self.status = 0
        self.body = b""
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request, self._answer = request, answer
        self._events = EventReader()
        self._parser = httptools.HttpResponseParser(self)
        self._now = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._now = time.monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._end(cause if isinstance(cause, StreamError) else StreamError(f"HTTP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and not self.status:
            exc = ConnectionResetError("the connection was closed without an answer")
        self._end(exc)

    def on_headers_complete(self) -> None:
        """Of httptools."""
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Of httptools."""
        if self.status != 200 or self._answer is None:
            self.body = (self.body + body)[:MOST_OF_AN_ERROR]
            return
        for data in self._events.feed(body):
            self._answer.take(data, self._now)

    def on_message_complete(self) -> None:
        """Of httptools."""
        self._end(None)

    def close(self) -> None:
        """Lets the connection go."""
        self._transport.abort()

    def _end(self, error: BaseException | None) -> None:
        if self.over.done():
            return
        if error is None:
            self.over.set_result(None)
        else:
            self.over.set_exception(error)


async def exchange(
    target: Target, request: bytes, answer: Answer | None, patience: float
) -> Exchange:
    """Sends a request and waits until its answer has ended.

    Raises OSError where there is no connection, TimeoutError after `patience` seconds, StreamError
    where the answer cannot be read.
    """
    loop = asyncio.get_running_loop()
    made: Exchange | None = None
    try:
        async with asyncio.timeout(patience):
            _, made = await loop.create_connection(
                lambda: Exchange(request, answer), target.host, target.port, ssl=target.context
            )
            await made.over
    finally:
        if made is not None:
            made.close()
    return made

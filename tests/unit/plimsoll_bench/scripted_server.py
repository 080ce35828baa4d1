"""A server on loopback that answers as a test says."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from plimsoll_bench.exchange import Target

Json = dict[str, Any]
Reply = Callable[[Json, asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def told(content: Json) -> bytes:
    """A chunk with one event."""
    return chunk(b"data: " + json.dumps(content).encode() + b"\n\n")


async def stream(asked: Json, writer: asyncio.StreamWriter, gap: float = 0.0) -> None:
    """A right answer: `max_tokens` tokens, usage, the end."""
    writer.write(HEAD)
    for number in range(asked["max_tokens"]):
        await asyncio.sleep(gap)
        writer.write(told({"choices": [{"text": "x", "token_ids": [number]}]}))
    usage = {"prompt_tokens": len(asked["prompt"]), "completion_tokens": asked["max_tokens"]}
    writer.write(told({"choices": [], "usage": usage}))
    writer.write(chunk(b"data: [DONE]\n\n") + chunk(b""))


async def status(writer: asyncio.StreamWriter, code: int, body: bytes = b"{}") -> None:
    """An answer that is no stream."""
    head = f"HTTP/1.1 {code} X\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    writer.write(head + body)


@asynccontextmanager
async def serving(reply: Reply, tls: ssl.SSLContext | None = None) -> AsyncIterator[Target]:
    """Serves until the end of `async with`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r")[0])
            content = await reader.readexactly(length)
            await reply(json.loads(content or b"{}"), writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    try:
        yield Target("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()

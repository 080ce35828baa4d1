"""As much of OpenAI's API as a bench needs, in front of engines that bring no server of their own.

Runs in the environments of others: nothing but Python's standard library. Token ids come in, and
token ids go out; text is left out, which costs such an engine nothing.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

Generate = Callable[[list[int], int], AsyncIterator[list[int]]]
"""From a prompt and the number of tokens wanted to the tokens, in pieces as they come."""
MOST_BYTES = 16 * 2**20


async def serve(model: str, generate: Generate, port: int) -> None:
    """Serves until the process ends."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _answer(reader, writer, model, generate)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, model: str, generate: Generate
) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request, _, fields = head.partition("\r\n")
    method, path, _ = request.split(" ", 2)
    if method == "GET":
        known = path in ("/health", "/v1/models")
        _plain(writer, 200 if known else 404, {"data": [{"id": model}]})
        return
    length = next(
        int(line.partition(":")[2])
        for line in fields.lower().split("\r\n")
        if line.startswith("content-length:")
    )
    if length > MOST_BYTES:
        _plain(writer, 413, {"error": "too large"})
        return
    body = json.loads(await reader.readexactly(length))
    prompt, count = body.get("prompt"), int(body.get("max_tokens", 16))
    if path != "/v1/completions" or not isinstance(prompt, list):
        _plain(writer, 400, {"error": "only /v1/completions, and prompts of token ids"})
        return
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    made = 0
    async for piece in generate(prompt, count):
        made += len(piece)
        finish = "length" if made >= count else None
        choice = {"index": 0, "text": "", "token_ids": piece, "finish_reason": finish}
        _event(writer, {"choices": [choice]})
        await writer.drain()
    usage = {"prompt_tokens": len(prompt), "completion_tokens": made}
    _event(writer, {"choices": [], "usage": usage})
    writer.write(b"data: [DONE]\n\n")
    await writer.drain()


def _event(writer: asyncio.StreamWriter, content: dict[str, Any]) -> None:
    writer.write(b"data: " + json.dumps(content).encode() + b"\n\n")


def _plain(writer: asyncio.StreamWriter, status: int, content: dict[str, Any]) -> None:
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)

import asyncio
import gc
import socket
import struct
import weakref
from collections.abc import AsyncIterator, Callable

import pytest
from fastapi import FastAPI

from plimsoll_runtime.server.http_protocol import BoundedHttpProtocol
from plimsoll_runtime.server.process import ServerProcess

Address = tuple[str, int]
REQUEST = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def address(app: FastAPI) -> AsyncIterator[Address]:
    """The app behind the real HTTP server, on the test's own loop."""
    process = ServerProcess(app)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        serving = asyncio.ensure_future(process.serve([listener]))
        while not process.started:
            await asyncio.sleep(0.001)
        yield listener.getsockname()
        process.should_exit = True
        await serving


async def exchange(address: Address, *pieces: bytes) -> bytes:
    """Everything the server sends until it closes, for `pieces` sent one by one."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def test_a_head_that_trickles_is_timed_out(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plimsoll_runtime.server.http_protocol.HEAD_TIMEOUT", 0.05)
    for begin in (b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: x\r\n"):
        assert (await exchange(address, begin)).startswith(b"HTTP/1.1 408 ")


async def test_the_second_request_of_a_connection_is_timed_too(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plimsoll_runtime.server.http_protocol.HEAD_TIMEOUT", 0.1)
    answer = await exchange(address, REQUEST, b"GET /livez HT")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer


async def test_a_connection_that_only_waits_after_a_request_is_kept(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plimsoll_runtime.server.http_protocol.HEAD_TIMEOUT", 0.05)
    reader, writer = await asyncio.open_connection(*address)
    for _ in range(2):
        writer.write(REQUEST)
        assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200 ")
        await asyncio.sleep(0.15)
    writer.close()


async def test_nothing_is_kept_of_a_connection_that_the_client_reset(address: Address) -> None:
    """Not even until the keep-alive's end, which would be 75 s."""
    kept: weakref.WeakSet[BoundedHttpProtocol] = weakref.WeakSet()
    begin = BoundedHttpProtocol.connection_made

    def seen(self: BoundedHttpProtocol, transport: asyncio.Transport) -> None:
        kept.add(self)
        begin(self, transport)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BoundedHttpProtocol, "connection_made", seen)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(REQUEST)
        await reader.readuntil(b"ok\n")
    assert kept
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
    await asyncio.sleep(0.05)
    gc.collect()
    assert not kept


async def test_a_head_of_64_kib_passes_and_a_larger_one_does_not(address: Address) -> None:
    first = b"GET /livez HTTP/1.1\r\nConnection: close\r\nx: "
    small = await exchange(address, first, *[b"x" * 10_000] * 6, b"\r\n\r\n")
    assert small.startswith(b"HTTP/1.1 200 ")
    large = await exchange(address, first, *[b"x" * 10_000] * 7)
    assert large.startswith(b"HTTP/1.1 431 ")
    at_once = await exchange(address, first + b"x" * 70_000 + b"\r\n\r\n")
    assert at_once.startswith(b"HTTP/1.1 431 ")


async def test_a_body_that_does_not_come_is_timed_out(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plimsoll_runtime.server.body.BODY_TIMEOUT", 0.05)
    head = (
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100\r\n\r\n{"
    )
    answer = await exchange(address, head)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"RequestTimeoutError" in answer


async def test_pipelined_requests_are_answered_in_order(
    address: Address, say: Callable[[str], list[int]]
) -> None:
    say("ok")
    body = b'{"prompt": "x"}'
    post = (
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    last = b"GET /version HTTP/1.1\r\nConnection: close\r\n\r\n"
    answer = await exchange(address, post + REQUEST + last)
    assert answer.count(b"HTTP/1.1 200 ") == 3
    assert answer.index(b"text_completion") < answer.index(b"ok\n") < answer.index(b'"version"')

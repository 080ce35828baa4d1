"""No request is lost to the moment at which the server closes its listener and its connections."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from fastapi import FastAPI

from plimsoll_runtime.server.process import ServerProcess

REQUEST = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


class Serving(NamedTuple):
    process: ServerProcess
    listener: socket.socket
    address: tuple[str, int]

    def connect(self) -> socket.socket:
        """A client that the kernel has let in; the loop has had no turn to notice."""
        return socket.create_connection(self.address, timeout=5)


@pytest.fixture
async def serving(app: FastAPI) -> AsyncIterator[Serving]:
    process = ServerProcess(app)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        task = asyncio.ensure_future(process.serve([listener]))
        while not process.started:
            await asyncio.sleep(0.001)
        yield Serving(process, listener, listener.getsockname())
        process.should_exit = process.force_exit = True
        await task


async def answer(client: socket.socket) -> bytes:
    """One answer; empty when the connection has ended."""

    def read() -> bytes:
        data = b""
        while not data.endswith(b"ok\n") and (more := client.recv(4096)):
            data += more
        return data

    return await asyncio.to_thread(read)


@pytest.mark.parametrize("late", [False, True])
async def test_who_has_connected_is_answered_though_the_listener_closes(
    serving: Serving, late: bool
) -> None:
    """Also who sends the request only then."""
    serving.process.begin_drain()
    with serving.connect() as client:
        if not late:
            client.sendall(REQUEST)
        ending = asyncio.ensure_future(serving.process.shutdown([serving.listener]))
        if late:
            await asyncio.sleep(0.05)
            with pytest.raises(ConnectionRefusedError):
                serving.connect()
            client.sendall(REQUEST)
        told = await answer(client)
        await ending
    assert told.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in told


async def test_a_request_that_lies_unread_is_answered_before_its_connection_ends(
    serving: Serving,
) -> None:
    with serving.connect() as client:
        client.sendall(REQUEST)
        assert (await answer(client)).startswith(b"HTTP/1.1 200 ")
        (connection,) = serving.process.server_state.connections
        serving.process._context.lifecycle.ending = True
        client.sendall(REQUEST)
        connection.shutdown()
        assert (await answer(client)).startswith(b"HTTP/1.1 200 ")
        assert await answer(client) == b""


async def test_a_head_that_has_begun_is_waited_for(serving: Serving) -> None:
    with serving.connect() as client:
        client.sendall(REQUEST + REQUEST[:9])
        assert (await answer(client)).startswith(b"HTTP/1.1 200 ")
        (connection,) = serving.process.server_state.connections
        serving.process._context.lifecycle.ending = True
        connection.shutdown()
        client.sendall(REQUEST[9:])
        assert (await answer(client)).startswith(b"HTTP/1.1 200 ")
        assert await answer(client) == b""


async def test_connections_that_bring_nothing_hold_nothing_up(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plimsoll_runtime.server.process.LAST_REQUESTS", 0.2)
    with serving.connect() as silent, serving.connect() as kept:
        kept.sendall(REQUEST)
        assert (await answer(kept)).startswith(b"HTTP/1.1 200 ")
        start = time.monotonic()
        await serving.process.shutdown([serving.listener])
        assert 0.2 <= time.monotonic() - start < 2
        assert await answer(silent) == b""
        assert await answer(kept) == b""

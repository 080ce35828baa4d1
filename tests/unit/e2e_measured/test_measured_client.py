"""When tokens came, from the pieces that a stream came in."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from e2e.measured.client import Exchange, Record, Sending, Sent, send_all


def event(*token_ids: int) -> bytes:
    return b"data: " + json.dumps({"choices": [{"token_ids": token_ids}]}).encode() + b"\n\n"


def record(pieces: Sequence[tuple[float, bytes]], tokens: int) -> Record:
    async def read() -> Record:
        exchange = Exchange(b"")
        exchange.sent = 1.25
        exchange.pieces = list(pieces)
        return exchange.record(1.0, tokens)

    return asyncio.run(read())


def test_a_token_came_with_the_last_piece_of_its_event() -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    whole = event(7)
    pieces = [
        (1.5, head + whole[:5]),
        (2.0, whole[5:]),
        (3.0, event(8) + event(9, 10)),
        (4.0, b"data: [DONE]\n\n"),
    ]
    assert record(pieces, 4) == Record(0.25, (1.0, 2.0, 2.0, 2.0), "", 3)


def test_an_answer_that_lacks_tokens_is_an_error() -> None:
    assert record([(2.0, event(1))], 2).error.startswith("1 of 2 tokens")
    assert "503" in record([(2.0, b"HTTP/1.1 503 Service Unavailable\r\n\r\n")], 1).error


class Slow(asyncio.Protocol):
    """A server that gives a token after 20 ms and another 40 ms later."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, _: bytes) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.02, self.transport.write, event(1))
        loop.call_later(0.06, self.transport.write, event(2))
        loop.call_later(0.06, self.transport.close)


async def serving() -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(Slow, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def test_requests_are_sent_when_they_are_due_whatever_became_of_others() -> None:
    async def run() -> Sent:
        async for port in serving():
            sendings = [Sending(at, {"max_tokens": 2}) for at in (0.0, 0.01, 0.02)]
            return await send_all("127.0.0.1", port, sendings)
        raise AssertionError

    found, cpu_seconds = asyncio.run(run())
    assert 0 < cpu_seconds < 1
    assert [len(each.tokens) for each in found] == [2, 2, 2]
    for each in found:
        assert not each.error
        assert each.events == 2
        assert each.late >= 0
        first, last = each.tokens
        assert first >= 0.02
        assert last - first == pytest.approx(0.04, abs=0.035)

"""Sends requests at their times, whatever became of those before, and notes when tokens come.

A process of its own: `python -m e2e.measured.client HOST PORT < SCHEDULE > RECORDS`. It only notes
what comes while requests run, and reads it when all have ended: the less it computes, the less it
disturbs what it measures. How much of a core that took is told, too.
"""

import asyncio
import gc
import json
import re
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import uvloop

PATIENCE_SECONDS = 120.0
"""How long after its time a request may end."""
LEAD_SECONDS = 0.5
"""Before the first request."""
_EVENT = re.compile(rb"data: (\{[^\n]*\})\n\n")


class Sending(NamedTuple):
    """A request: seconds from the start, and its body."""

    at: float
    body: dict[str, Any]


class Record(NamedTuple):
    """What became of it. Seconds from the moment it was to be sent: when it was, and when each
    token came. `error` is empty where the answer was complete; `events` are those that had tokens.
    """

    late: float
    tokens: tuple[float, ...]
    error: str
    events: int


class Sent(NamedTuple):
    """What became of all, and the CPU seconds of this process from the first to the last."""

    records: list[Record]
    cpu_seconds: float


class Exchange(asyncio.Protocol):
    """One request on a connection of its own."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.sent = 0.0
        self.pieces: list[tuple[float, bytes]] = []
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.sent = time.monotonic()
        cast(asyncio.WriteTransport, transport).write(self.request)

    def data_received(self, data: bytes) -> None:
        self.pieces.append((time.monotonic(), data))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(exc)

    def record(self, due: float, tokens: int) -> Record:
        """What came, for a request that was due then and asked for so many tokens."""
        answer = b"".join(data for _, data in self.pieces)
        times: list[float] = []
        come, events, pieces = 0, 0, iter(self.pieces)
        now = due
        for event in _EVENT.finditer(answer):
            while come < event.end():
                now, data = next(pieces)
                come += len(data)
            for choice in json.loads(event[1]).get("choices", ()):
                times += [now - due] * len(choice["token_ids"])
                events += bool(choice["token_ids"])
        error = "" if len(times) == tokens else f"{len(times)} of {tokens} tokens: {answer[:300]!r}"
        return Record(self.sent - due, tuple(times), error, events)


async def send_all(host: str, port: int, sendings: Sequence[Sending]) -> Sent:
    """Sends each at its time and waits until all have ended."""
    requests = [_request(host, each.body) for each in sendings]
    loop = asyncio.get_running_loop()
    start = time.monotonic() + LEAD_SECONDS
    gc.collect()
    gc.disable()
    cpu = time.process_time()

    async def one(at: float, request: bytes) -> Exchange:
        await asyncio.sleep(start + at - time.monotonic())
        _, exchange = await loop.create_connection(lambda: Exchange(request), host, port)
        await asyncio.wait_for(exchange.ended, PATIENCE_SECONDS)
        return exchange

    exchanges = await asyncio.gather(
        *(one(each.at, request) for each, request in zip(sendings, requests, strict=True))
    )
    cpu = time.process_time() - cpu
    records = [
        exchange.record(start + each.at, each.body["max_tokens"])
        for exchange, each in zip(exchanges, sendings, strict=True)
    ]
    return Sent(records, cpu)


def _request(host: str, body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    return (
        f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode() + content


def main() -> None:
    """Reads the schedule, sends it, writes what became of it."""
    host, port = sys.argv[1], int(sys.argv[2])
    sendings = [Sending(*each) for each in json.load(sys.stdin)]
    records, cpu_seconds = uvloop.run(send_all(host, port, sendings))
    told = {"records": [each._asdict() for each in records], "cpu_seconds": cpu_seconds}
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()

"""Clients that leave at random moments: all that they held is given back."""

import asyncio
import json
import random
import socket
import struct
from urllib.parse import urlsplit

from e2e.soak.canaries import Canaries
from e2e.soak.memory import ALL, Sample
from e2e.soak.report import Report, mebibytes, table
from e2e.soak.server import Server

AT_ONCE = 50
ROUNDS = 4
"""The first two warm up; the last must not need more memory than the second."""
MOST_GROWTH = 0.01
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: the connection ends with a reset instead of an orderly close."""


async def leave(url: str, seed: int) -> str:
    """One client; where it left."""
    chance = random.Random(seed)  # noqa: S311 - reproducible on purpose
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    if chance.random() < 0.5:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    request = _request(chance)
    try:
        if chance.random() < 0.2:
            writer.write(request[: chance.randrange(len(request))])
            await writer.drain()
            return "in the request"
        writer.write(request)
        await writer.drain()
        if chance.random() < 0.3:
            await asyncio.sleep(chance.uniform(0, 0.5))
            return "without reading"
        for _ in range(chance.randint(1, 40)):
            if not await reader.read(200):
                return "after the answer"
        return "in the answer"
    finally:
        writer.transport.abort() if chance.random() < 0.5 else writer.close()


def _request(chance: random.Random) -> bytes:
    body = {
        "prompt": [chance.randrange(8, 2000) for _ in range(chance.randint(1, 600))],
        "max_tokens": chance.randint(1, 400),
        "n": chance.choice((1, 1, 4)),
        "stream": chance.random() < 0.7,
        "ignore_eos": True,
    }
    content = json.dumps(body).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


async def _round(url: str, clients: int, first_seed: int) -> dict[str, int]:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(seed: int) -> str:
        async with places:
            return await leave(url, seed)

    left = await asyncio.gather(*(one(first_seed + each) for each in range(clients)))
    return {each: left.count(each) for each in sorted(set(left))}


def run(seed: int, clients: int) -> Report:
    """`clients` leave in every round; between two, nothing may be left of them."""
    report = Report("leaving clients")
    samples = []
    with Server() as server:
        canaries = Canaries(server.url)
        for number in range(ROUNDS):
            left = asyncio.run(_round(server.url, clients, (seed * ROUNDS + number) * clients))
            report.say(f"{clients} clients left: {left}")
            if problem := server.why_not_idle():
                report.blame(problem)
            for change in canaries.changed():
                report.blame(change)
            samples.append(Sample(number, server.readings()))
        head = ("resident MiB", *(f"round {number + 1}" for number in range(ROUNDS)))
        names = ("server", "engine", ALL)
        rows = [(name, *(mebibytes(each.resident(name)) for each in samples)) for name in names]
        for line in table(head, rows):
            report.say(line)
        if samples[-1].resident(ALL) > samples[1].resident(ALL) * (1 + MOST_GROWTH):
            report.blame("memory grew")
        if "Traceback" in server.log:
            report.blame(f"the server's log has a traceback:\n{server.log[-2000:]}")
    return report

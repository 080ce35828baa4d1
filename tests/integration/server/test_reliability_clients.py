"""Clients that leave, trickle, break off or speak something else, against a server process."""

import asyncio
import json
import random
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.server.conftest import SPOKEN, ServerProcess

CLIENTS = 200
AT_ONCE = 40
RUNNING, WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
USED = "vllm:kv_cache_usage_perc"
PROMPT = [9] * 20


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("clients") / "server.log"
    server = ServerProcess([sys.executable, SPOKEN, "--seconds-per-step=0.002"], log)
    yield server
    server.kill()


@pytest.fixture
def served(shared: ServerProcess) -> Iterator[ServerProcess]:
    """A server that must be as it was before: nothing runs, no block is held, and it answers."""
    yield shared
    shared.until(lambda: shared.metric(RUNNING) == shared.metric(WAITING) == 0, 20)
    assert shared.metric(USED) == 0
    body = {"prompt": PROMPT, "max_tokens": 3, "return_token_ids": True}
    choice = httpx.post(f"{shared.url}/v1/completions", json=body).json()["choices"][0]
    assert len(set(choice["token_ids"])) == 1
    assert len(choice["token_ids"]) == 3
    assert "Traceback" not in shared.log.read_text()


def request(path: str, body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def address(server: ServerProcess) -> tuple[str, int]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return host, int(port)


def a_request(chance: random.Random) -> bytes:
    """Any API, streamed or not, of any length."""
    path, content = chance.choice(
        [
            ("/v1/completions", {"prompt": PROMPT, "max_tokens": chance.randrange(1, 900)}),
            ("/v1/completions", {"prompt": [PROMPT] * 3, "n": 2, "max_tokens": 300}),
            (
                "/v1/chat/completions",
                {"messages": [{"role": "user", "content": "x"}], "max_tokens": 500},
            ),
            ("/v1/responses", {"input": "x", "max_output_tokens": 500}),
        ]
    )
    return request(path, {**content, "stream": chance.random() < 0.7})


async def leave(server: ServerProcess, chance: random.Random, turn: asyncio.Semaphore) -> None:
    """Sends all or part of a request, reads for a while, and is gone, with or without goodbye."""
    async with turn:
        reader, writer = await asyncio.open_connection(*address(server))
        data = a_request(chance)
        cut = len(data) if chance.random() < 0.8 else chance.randrange(len(data))
        writer.write(data[:cut])
        await writer.drain()
        try:
            async with asyncio.timeout(chance.random() * 0.4):
                while await reader.read(512):
                    pass
        except TimeoutError:
            pass
        if chance.random() < 0.5:
            writer.transport.abort()
        else:
            writer.close()


async def test_200_clients_that_leave_at_random_moments_hold_nothing(served: ServerProcess) -> None:
    chance = random.Random(20261121)
    turn = asyncio.Semaphore(AT_ONCE)
    neighbour = asyncio.create_task(ask(served, 200))
    await asyncio.gather(*(leave(served, chance, turn) for _ in range(CLIENTS)))
    text = (await neighbour)["choices"][0]["text"]
    assert text == " the" * 200, "the neighbour is undisturbed"
    aborted = await asyncio.to_thread(count_aborted, served)
    assert aborted > CLIENTS / 10, "too few left in the middle of an answer"


async def ask(server: ServerProcess, max_tokens: int) -> Any:
    async with httpx.AsyncClient(timeout=50) as http:
        body = {"prompt": PROMPT, "max_tokens": max_tokens}
        return (await http.post(f"{server.url}/v1/completions", json=body)).json()


def count_aborted(server: ServerProcess) -> float:
    text = httpx.get(f"{server.url}/metrics").text
    line = next(each for each in text.splitlines() if 'finished_reason="abort"' in each)
    return float(line.rpartition(" ")[2])


def test_bodies_that_break_off(served: ServerProcess) -> None:
    data = request("/v1/completions", {"prompt": "x" * 1000, "max_tokens": 5})
    for cut in (len(data) - 1, len(data) - 900, len(data) - 1000):
        with socket.create_connection(address(served), timeout=10) as client:
            client.sendall(data[:cut])
            client.shutdown(socket.SHUT_WR)
            answer = client.recv(4096)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    chunked = b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    chunked += b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"pro\r\nff'
    with socket.create_connection(address(served), timeout=10) as client:
        client.sendall(chunked)


def test_bodies_that_lie_about_their_length(served: ServerProcess) -> None:
    head = b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for length in (b"-1", b"1e3", b"0x10", b"18446744073709551616", b"5, 6", b""):
        with socket.create_connection(address(served), timeout=10) as client:
            client.sendall(head + b"Content-Length: " + length + b'\r\n\r\n{"prompt": "x"}')
            answer = client.recv(4096)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), (length, answer)
    with socket.create_connection(address(served), timeout=10) as client:
        client.sendall(head + b"Content-Length: 999999999999\r\n\r\n" + b"x" * 65536)


def test_many_connections_that_trickle_do_not_keep_others_out(served: ServerProcess) -> None:
    slow = [socket.create_connection(address(served), timeout=10) for _ in range(150)]
    try:
        for index, client in enumerate(slow):
            body = request("/v1/completions", {"prompt": "x"})
            client.sendall(body[: 3 + index % (len(body) - 4)])
        with httpx.Client(base_url=served.url, timeout=10) as http:
            start = time.monotonic()
            for _ in range(10):
                assert http.post("/tokenize", json={"prompt": "x"}).status_code == 200
            assert time.monotonic() - start < 5
    finally:
        for client in slow:
            client.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez HTTP/1.1\r\nHost: x\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + b"k" * 70_000 + b"\r\n\r\n",
    ],
)
def test_huge_heads(served: ServerProcess, head: bytes) -> None:
    with socket.create_connection(address(served), timeout=10) as client:
        try:
            client.sendall(head)
            answer = client.recv(4096)
        except ConnectionError:
            return
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


def test_no_websocket_is_spoken(served: ServerProcess) -> None:
    upgrade = (
        b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(address(served), timeout=10) as client:
        client.sendall(upgrade)
        assert client.recv(4096).startswith(b"HTTP/1.1 4")


def test_hostile_paths_and_methods(served: ServerProcess) -> None:
    for target in (
        b"/v1/models/%ff",
        b"/v1/models/%00",
        b"/..%2f..%2fetc/passwd",
        b"*",
        b"//x/livez",
    ):
        for method in (b"GET", b"POST", b"DELETE", b"OPTIONS", b"TRACE", b"BREW"):
            with socket.create_connection(address(served), timeout=10) as client:
                client.sendall(method + b" " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
                client.shutdown(socket.SHUT_WR)
                answer = client.recv(4096)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), (method, target, answer)

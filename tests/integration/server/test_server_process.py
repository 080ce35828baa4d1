"""The server as a process: signals, disconnects, limits of the HTTP layer."""

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.integration.server.conftest import HTTP, SPOKEN, ServerProcess, StartServer

LONG: dict[str, Any] = {"prompt": [9] * 20, "max_tokens": 100, "stream": True}
RUNNING = "vllm:num_requests_running"


class Stream:
    """A streaming completion, read in a thread."""

    def __init__(self, url: str, **body: Any) -> None:
        self.lines: list[str] = []
        self.error: Exception | None = None
        self.headers: httpx.Headers | None = None
        self._body = LONG | body
        self._url = url
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            with HTTP.stream("POST", f"{self._url}/v1/completions", json=self._body) as response:
                self.headers = response.headers
                for line in response.iter_lines():
                    if line:
                        self.lines.append(line)
        except httpx.HTTPError as error:
            self.error = error

    @property
    def is_over(self) -> bool:
        """Whether the answer has ended, as it should or not."""
        return not self._thread.is_alive()

    def finished(self, seconds: float = 20) -> list[dict[str, Any]]:
        """Every event, once [DONE] has come."""
        self._thread.join(seconds)
        assert not self._thread.is_alive()
        assert self.error is None
        assert self.lines[-1] == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in self.lines[:-1]]


def connection(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def raw_request(body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def test_an_idle_server_ends_at_once_with_0(start_spoken: StartServer) -> None:
    server = start_spoken()
    assert HTTP.get(f"{server.url}/readyz").status_code == 200
    start = time.monotonic()
    server.terminate()
    assert server.wait(5) == 0
    assert time.monotonic() - start < 2


def test_running_streams_finish_after_sigterm(start_spoken: StartServer) -> None:
    server = start_spoken("--seconds-per-step=0.02")
    streams = [Stream(server.url) for _ in range(3)]
    server.until(lambda: all(len(stream.lines) > 3 for stream in streams))
    server.terminate()
    server.until(lambda: HTTP.get(f"{server.url}/readyz").status_code == 503)
    assert HTTP.get(f"{server.url}/livez").status_code == 200
    late = HTTP.post(f"{server.url}/v1/completions", json={"prompt": [9], "max_tokens": 2})
    assert late.status_code == 200
    assert late.headers["connection"] == "close"
    for stream in streams:
        events = stream.finished()
        assert events[-1]["choices"][0]["finish_reason"] == "length"
    assert server.wait(5) == 0
    assert "Traceback" not in server.log.read_text()


def test_what_outlasts_the_shutdown_timeout_gets_an_error(start_spoken: StartServer) -> None:
    """In full the answer would take 50 s; how soon after the error the process ends is the
    machine's affair."""
    server = start_spoken("--seconds-per-step=0.1", "--shutdown-timeout=1")
    stream = Stream(server.url, max_tokens=500)
    server.until(lambda: len(stream.lines) > 2)
    start = time.monotonic()
    server.terminate()
    assert "server stopped" in stream.finished()[-1]["error"]["message"]
    assert time.monotonic() - start > 0.9
    assert server.wait(20) == 0


def test_the_listener_closes_while_a_long_answer_still_runs(start_spoken: StartServer) -> None:
    server = start_spoken("--seconds-per-step=0.05", "--listen-while-draining=1.5")
    stream = Stream(server.url, max_tokens=80)
    server.until(lambda: len(stream.lines) > 2)
    server.terminate()

    def refused() -> bool:
        try:
            connection(server.url).close()
        except ConnectionRefusedError:
            return True
        return False

    assert server.until(refused) > 1
    assert not stream.is_over
    assert stream.finished()[-1]["choices"][0]["finish_reason"] == "length"
    assert server.wait(5) == 0


def test_a_second_signal_ends_at_once(start_spoken: StartServer) -> None:
    server = start_spoken("--seconds-per-step=0.1")
    stream = Stream(server.url, max_tokens=500)
    server.until(lambda: len(stream.lines) > 2)
    server.terminate()
    time.sleep(0.3)
    server.terminate()
    server.wait(4)


@pytest.mark.parametrize("streaming", [True, False])
def test_a_client_that_leaves_frees_its_blocks(start_spoken: StartServer, streaming: bool) -> None:
    server = start_spoken("--seconds-per-step=0.02")
    with connection(server.url) as client:
        client.sendall(raw_request(LONG | {"stream": streaming, "max_tokens": 900, "n": 4}))
        server.until(lambda: server.metric(RUNNING) == 4)
        assert server.metric("vllm:kv_cache_usage_perc") > 0
    assert server.until(lambda: server.metric(RUNNING) == 0) < 1
    assert server.metric("vllm:kv_cache_usage_perc") == 0
    text = HTTP.get(f"{server.url}/metrics").text
    line = next(each for each in text.splitlines() if 'finished_reason="abort"' in each)
    assert float(line.rpartition(" ")[2]) == 4


def test_a_client_that_leaves_while_waiting_is_forgotten(start_spoken: StartServer) -> None:
    server = start_spoken("--seconds-per-step=0.02")
    streams = [Stream(server.url, max_tokens=200) for _ in range(8)]
    server.until(lambda: server.metric(RUNNING) == 8)
    with connection(server.url) as client:
        client.sendall(raw_request(LONG))
        server.until(lambda: server.metric("vllm:num_requests_waiting") == 1)
    assert server.until(lambda: server.metric("vllm:num_requests_waiting") == 0) < 1
    for stream in streams:
        stream.finished()


def deaf_client(url: str) -> socket.socket:
    """Asks for more than fits the sockets' buffers and reads none of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, _, port = url.removeprefix("http://").partition(":")
    client.connect((host, int(port)))
    client.sendall(raw_request(LONG | {"prompt": [[9]] * 16, "n": 8, "max_tokens": 300}))
    return client


def test_a_client_that_does_not_read_holds_no_blocks(start_spoken: StartServer) -> None:
    server = start_spoken("--seconds-per-step=0")
    with deaf_client(server.url):
        server.until(lambda: server.metric("vllm:generation_tokens_total") > 0)
        server.until(lambda: server.metric(RUNNING) == 0, 40)
        answer = HTTP.post(f"{server.url}/v1/completions", json={"prompt": [9]})
        assert answer.status_code == 200


def test_a_client_that_does_not_read_cannot_hold_up_the_end(start_spoken: StartServer) -> None:
    server = start_spoken("--seconds-per-step=0", "--shutdown-timeout=1")
    with deaf_client(server.url):
        server.until(lambda: server.metric("vllm:generation_tokens_total") > 0)
        server.until(lambda: server.metric(RUNNING) == 0, 40)
        start = time.monotonic()
        server.terminate()
        assert server.wait(8) == 0
        assert time.monotonic() - start > 1, "the answer was not stuck"


def test_an_engine_that_fails_ends_the_process(start_spoken: StartServer) -> None:
    server = start_spoken("--fail-at-step=20")
    stream = Stream(server.url, max_tokens=900)
    assert stream.finished()[-1]["error"]["type"] == "InternalServerError"
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(
            lambda _: HTTP.post(f"{server.url}/v1/completions", json={"prompt": [9]}), range(2)
        )
        assert {answer.status_code for answer in answers} <= {500, 503}
    HTTP.post(f"{server.url}/v1/completions", json={"prompt": [9]})
    server.until(lambda: HTTP.get(f"{server.url}/livez").status_code == 503)
    assert server.wait(8) == 1


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("talking") / "server.log"
    server = ServerProcess([sys.executable, SPOKEN, "--seconds-per-step=0.001"], log)
    yield server
    server.kill()


@pytest.fixture
def served(shared: ServerProcess) -> Iterator[ServerProcess]:
    """A server that must still serve after the test."""
    yield shared
    answer = HTTP.post(f"{shared.url}/v1/completions", json={"prompt": [9], "max_tokens": 3})
    assert answer.json()["usage"]["completion_tokens"] == 3
    assert "Traceback" not in shared.log.read_text()


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (b"GET / HTTP/1.1\r\nx-long: ", b"x" * 4096),
        (b"GET / HTTP/1.1\r\n", b"x: y\r\n" * 600),
        (b"GET /", b"a" * 4096),
    ],
)
def test_heads_are_bounded(served: ServerProcess, first: bytes, piece: bytes) -> None:
    with connection(served.url) as client:
        try:
            client.sendall(first)
            for _ in range(64):
                client.sendall(piece)
            assert client.recv(4096).startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))
        except ConnectionError:
            pass  # closed on us while we were still sending: as good


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff\xfe garbage\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(served: ServerProcess, data: bytes) -> None:
    with connection(served.url) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(4096)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


def test_clients_that_leave_at_every_point_harm_nobody(served: ServerProcess) -> None:
    request = raw_request(LONG)
    for size in (1, 20, len(request) // 2, len(request) - 1, len(request)):
        with connection(served.url) as client:
            client.sendall(request[:size])
    served.until(lambda: served.metric(RUNNING) == 0)

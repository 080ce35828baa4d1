"""The engine's process: however it or the server ends, the other notices and nobody waits."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.server.conftest import HTTP, ServerProcess, StartServer, children, gone
from tests.integration.server.test_server_process import RUNNING, Stream

AT_ONCE = 1.0
"""Seconds; what is measured takes milliseconds on an idle machine."""


def until(condition: Any, seconds: float = 10) -> float:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "waited in vain"
        time.sleep(0.002)
    return time.monotonic() - start


@pytest.fixture
def stopped() -> Iterator[list[int]]:
    """Processes that the test stops; they go on at its end, so that they can be ended."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if not gone(pid):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_an_engine_that_dies_is_told_to_everybody_at_once(
    start_spoken: StartServer, number: signal.Signals
) -> None:
    server = start_spoken("--seconds-per-step=0.05")
    streams = [Stream(server.url, max_tokens=900) for _ in range(3)]
    whole: list[httpx.Response] = []
    body = {"prompt": [9], "max_tokens": 900}
    asking = threading.Thread(
        target=lambda: whole.append(HTTP.post(f"{server.url}/v1/completions", json=body))
    )
    asking.start()
    server.until(lambda: server.metric(RUNNING) == 4)
    os.kill(server.engine_pid, number)
    start = time.monotonic()
    for stream in streams:
        assert stream.finished(5)[-1]["error"]["type"] == "InternalServerError"
    asking.join(5)
    assert time.monotonic() - start < AT_ONCE
    assert whole[0].status_code == 500
    assert "the engine failed" in whole[0].json()["error"]["message"]
    assert HTTP.get(f"{server.url}/livez").status_code == 503
    assert HTTP.get(f"{server.url}/readyz").status_code == 503
    assert HTTP.get(f"{server.url}/metrics").status_code == 200
    late = HTTP.post(f"{server.url}/v1/completions", json=body)
    assert late.status_code == 503
    assert server.wait(8) == 1
    assert f"the engine's process was ended by {number.name}" in server.log.read_text()


def test_an_idle_engine_that_dies_ends_the_server(start_spoken: StartServer) -> None:
    server = start_spoken()
    os.kill(server.engine_pid, signal.SIGKILL)
    server.until(lambda: HTTP.get(f"{server.url}/livez").status_code == 503, AT_ONCE)
    assert server.wait(8) == 1


def test_an_engine_does_not_outlive_its_server(start_spoken: StartServer) -> None:
    server = start_spoken("--seconds-per-step=0.05")
    stream = Stream(server.url, max_tokens=900)
    server.until(lambda: len(stream.lines) > 2)
    server.kill()
    assert until(lambda: gone(server.engine_pid)) < AT_ONCE


def test_an_engine_that_is_stuck_does_not_outlive_its_server(
    start_spoken: StartServer, stopped: list[int]
) -> None:
    server = start_spoken()
    stopped.append(server.engine_pid)
    os.kill(server.engine_pid, signal.SIGSTOP)
    server.kill()
    assert until(lambda: gone(server.engine_pid)) < AT_ONCE


def test_signals_to_all_processes_drain_as_one_to_the_server(start_spoken: StartServer) -> None:
    server = start_spoken("--seconds-per-step=0.02")
    stream = Stream(server.url)
    server.until(lambda: len(stream.lines) > 3)
    # As a service manager ends a cgroup, and as a terminal sends Ctrl-C.
    os.kill(server.engine_pid, signal.SIGTERM)
    os.kill(server.engine_pid, signal.SIGINT)
    os.killpg(server.process.pid, signal.SIGINT)
    assert stream.finished()[-1]["choices"][0]["finish_reason"] == "length"
    assert server.wait(5) == 0
    assert gone(server.engine_pid)


def test_an_engine_in_a_long_step_holds_nothing_up(
    start_spoken: StartServer, stopped: list[int]
) -> None:
    server = start_spoken("--seconds-per-step=0.02")
    stream = Stream(server.url)
    server.until(lambda: len(stream.lines) > 3)
    stopped.append(server.engine_pid)
    os.kill(server.engine_pid, signal.SIGSTOP)
    for path in ("metrics", "livez", "readyz", "v1/models"):
        start = time.monotonic()
        assert HTTP.get(f"{server.url}/{path}").status_code == 200
        assert time.monotonic() - start < AT_ONCE
    waiting = [Stream(server.url, max_tokens=4) for _ in range(3)]
    server.until(lambda: server.metric("vllm:num_requests_waiting") == 3)
    os.kill(server.engine_pid, signal.SIGCONT)
    for each in (stream, *waiting):
        assert each.finished()[-1]["choices"][0]["finish_reason"] == "length"


def test_an_engine_that_is_stuck_cannot_hold_up_the_end(
    start_spoken: StartServer, stopped: list[int]
) -> None:
    server = start_spoken("--seconds-per-step=0.02", "--shutdown-timeout=0.5")
    stream = Stream(server.url, max_tokens=900)
    server.until(lambda: len(stream.lines) > 3)
    stopped.append(server.engine_pid)
    os.kill(server.engine_pid, signal.SIGSTOP)
    server.terminate()
    assert "server stopped" in stream.finished()[-1]["error"]["message"]
    assert server.wait(8) == 0
    assert gone(server.engine_pid)


def test_only_the_engine_has_torch(tiny: ServerProcess) -> None:
    def has_torch(pid: int) -> bool:
        return "libtorch" in Path(f"/proc/{pid}/maps").read_text()

    assert has_torch(tiny.engine_pid)
    assert not has_torch(tiny.process.pid)


def serve(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "plimsoll_runtime.cli", "serve", "builtin://tiny", "--port=0"]
    return subprocess.Popen(  # noqa: S603
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--kv-cache-memory-bytes=1", "the KV cache's memory does not hold one block"),
        ("--max-model-len=100000", "max_model_len 100000 is more than the model was made for"),
    ],
)
def test_what_the_engine_finds_wrong_is_one_line_and_exit_code_2(option: str, message: str) -> None:
    server = serve(option)
    out, error = server.communicate(timeout=60)
    assert server.returncode == 2
    assert error.startswith(f"plimsoll serve: {message}")
    assert error.count("\n") == 1
    assert out.startswith("plimsoll: loading ")


def loading_engine(server: subprocess.Popen[str]) -> int:
    until(lambda: children(server.pid))
    return children(server.pid)[0]


def test_an_engine_that_dies_while_loading_is_told() -> None:
    server = serve()
    os.kill(loading_engine(server), signal.SIGKILL)
    _, error = server.communicate(timeout=60)
    assert server.returncode == 1
    assert error == (
        "plimsoll serve: the engine's process was ended by SIGKILL, perhaps for want of memory\n"
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -9)])
def test_a_server_that_ends_while_loading_leaves_no_engine(
    number: signal.Signals, code: int
) -> None:
    server = serve()
    engine = loading_engine(server)
    server.send_signal(number)
    until(lambda: gone(engine), 2 * AT_ONCE)
    _, error = server.communicate(timeout=60)
    assert (server.returncode, error) == (code, "")

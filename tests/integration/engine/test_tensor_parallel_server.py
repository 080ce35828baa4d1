"""A server with several ranks: what its clients see, and that all processes end together."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.engine.several_ranks import TIMEOUT, alive, ranks_below, until
from tests.integration.server.conftest import ServerProcess

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def server(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ServerProcess]:
    """`plimsoll serve` with two ranks."""
    monkeypatch.setenv("TMPDIR", str(temporary))
    command = [sys.executable, "-m", "plimsoll_runtime.cli", "serve", "builtin://tiny"]
    options = ["--port=0", "--dtype=float32", "--threads=2", "--tensor-parallel-size=2"]
    process = ServerProcess([*command, *options], tmp_path / "server.log")
    yield process
    process.kill()


def stream(server: ServerProcess, max_tokens: int) -> Iterator[str]:
    body = {
        "prompt": "import os",
        "max_tokens": max_tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
    }
    url = f"{server.url}/v1/completions"
    with httpx.stream("POST", url, json=body, timeout=TIMEOUT) as response:
        yield from (line for line in response.iter_lines() if line)


def test_a_server_whose_rank_is_killed_tells_its_clients_and_exits(
    server: ServerProcess, temporary: Path
) -> None:
    (rank,) = ranks_below(server.process.pid)
    lines = stream(server, 1900)
    next(lines)
    os.kill(rank, signal.SIGKILL)
    killed = time.monotonic()
    rest = list(lines)
    assert "the engine failed; send the request again" in "".join(rest)
    assert server.wait(15) == 1
    assert time.monotonic() - killed < 10
    assert f"rank 1 (process {rank}) was ended by SIGKILL" in server.log.read_text()
    assert not alive(rank)
    until(lambda: not list(temporary.iterdir()))


@pytest.mark.parametrize("victim", ["engine", "server"])
def test_ranks_end_with_the_engines_process_and_that_with_the_server(
    server: ServerProcess, temporary: Path, victim: str
) -> None:
    (rank,) = ranks_below(server.process.pid)
    lines = stream(server, 1900)
    next(lines)
    if victim == "engine":
        os.kill(server.engine_pid, signal.SIGKILL)
        assert "the engine failed; send the request again" in "".join(lines)
        assert server.wait(15) == 1
    else:
        server.process.kill()
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)
        server.process.wait()
    until(lambda: not alive(rank) and not alive(server.engine_pid))
    until(lambda: not list(temporary.iterdir()))


def test_a_signal_to_all_processes_still_lets_requests_finish(server: ServerProcess) -> None:
    (rank,) = ranks_below(server.process.pid)
    lines = stream(server, 120)
    next(lines)
    for pid in (rank, server.engine_pid, server.process.pid):
        os.kill(pid, signal.SIGTERM)
    *rest, done = list(lines)
    assert done == "data: [DONE]"
    assert "error" not in "".join(rest)
    assert server.wait(30) == 0
    until(lambda: not alive(rank))

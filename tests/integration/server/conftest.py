"""Starts servers as processes of their own."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest

READY = re.compile(r"^plimsoll: serving (\S+) on (http://\S+:\d+) ", re.MULTILINE)
START_SECONDS = 120
SPOKEN = str(Path(__file__).with_name("spoken_server.py"))
HTTP = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0))
"""For all requests, each on a connection of its own: to make a client takes longer than to ask."""


class ServerProcess:
    """A running server; `url` is where it answers."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(  # noqa: S603
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,
            )
        self.name, self.url = self._wait_until_ready()
        try:
            (self.engine_pid,) = children(self.process.pid)
        except ValueError:
            self.kill()
            raise

    def _wait_until_ready(self) -> tuple[str, str]:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            found = READY.search(self.log.read_text())
            if found:
                return found.group(1), found.group(2)
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"the server did not start:\n{self.log.read_text()}")

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        """The exit code; fails the test when there is none in time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still running after {seconds} s:\n{self.log.read_text()}"
            ) from None

    def kill(self) -> None:
        """Ends it whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def metric(self, name: str) -> float:
        """The sample of that name."""
        for line in HTTP.get(f"{self.url}/metrics").text.splitlines():
            if line.startswith(f"{name}{{"):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no metric {name}")

    def until(self, condition: Callable[[], bool], seconds: float = 10) -> float:
        """Waits for `condition`; returns the seconds that took."""
        start = time.monotonic()
        while not condition():
            if time.monotonic() - start > seconds:
                raise AssertionError(f"not within {seconds} s:\n{self.log.read_text()}")
            time.sleep(0.005)
        return time.monotonic() - start


def children(pid: int) -> list[int]:
    """The processes that `pid` has started and that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        state, parent = _state(int(folder.name))
        if parent == pid and state != "Z":
            found.append(int(folder.name))
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    return _state(pid)[0] in ("", "Z", "X")


def _state(pid: int) -> tuple[str, int]:
    """State and parent; `""` when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    state, parent = stat.rpartition(")")[2].split()[:2]
    return state, int(parent)


StartServer = Callable[..., ServerProcess]


def _environment() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def start_spoken(tmp_path: Path) -> Iterator[StartServer]:
    """Starts spoken_server.py with the options given."""
    servers: list[ServerProcess] = []

    def start(*options: str) -> ServerProcess:
        log = tmp_path / f"server-{len(servers)}.log"
        servers.append(ServerProcess([sys.executable, SPOKEN, *options], log))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """`plimsoll serve builtin://tiny`, shared by tests that leave it as they found it."""
    log = tmp_path_factory.mktemp("tiny") / "server.log"
    command = [sys.executable, "-m", "plimsoll_runtime.cli", "serve", "builtin://tiny"]
    server = ServerProcess([*command, "--port=0", "--threads=2", "--dtype=float32"], log)
    yield server
    server.kill()


@pytest.fixture
def client(tiny: ServerProcess) -> Iterator[openai.OpenAI]:
    """The SDK as people have it, for one request after the other."""
    with openai.OpenAI(base_url=f"{tiny.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def many(tiny: ServerProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    """The SDK for many requests at once."""
    url = f"{tiny.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client

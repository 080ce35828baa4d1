"""An engine's server as a process: started, waited for, ended, its memory told."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from e2e.peers.engine import ROOT, Start

START_SECONDS = 900.0
END_SECONDS = 20.0
POLL_SECONDS = 0.02
_FIRST = json.dumps(
    {"model": "model", "prompt": [300, 301, 302, 303], "max_tokens": 1, "temperature": 0}
)


class Server:
    """From `start` to `end`. `ready_seconds` is how long it took from the start of the process to
    the end of its first answer, which is of one token.

    `peak_bytes` is the most memory: of its processes' own peaks the sum, until that answer or after
    it. What a process needs to start is not had at once with what another needs to serve.
    """

    def __init__(self, start: Start, port: int) -> None:
        self._command, self.port = start, port
        self.note = start.note
        self.url = f"http://127.0.0.1:{port}"
        self.ready_seconds = 0.0
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self) -> None:
        """Returns when it has answered. Raises RuntimeError with the end of its log if it does not
        get that far."""
        log, name = tempfile.mkstemp(suffix=".log")
        self._log = Path(name)
        variables = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", **self._command.variables}
        # As where it is installed: with the bytecode that its first start leaves behind.
        inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        begun = time.monotonic()
        self._process = subprocess.Popen(
            self._command.command,
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**inherited, **variables},
            start_new_session=True,
        )
        os.close(log)
        try:
            self._wait_for_an_answer(begun)
        finally:
            if not self.ready_seconds:
                self.end()
        if not self.ready_seconds:
            raise RuntimeError(f"{self._command.command[:4]} does not serve:\n{self._said}")
        self.peak_bytes = peak(self._process.pid)
        forget_peak(self._process.pid)

    def _wait_for_an_answer(self, begun: float) -> None:
        while time.monotonic() - begun < START_SECONDS and self._process.poll() is None:
            if _answers(self.port):
                self.ready_seconds = time.monotonic() - begun
                return
            time.sleep(POLL_SECONDS)

    def pause(self) -> None:
        """Takes it from the cores (SIGSTOP) until `resume`."""
        self.peak_bytes = max(self.peak_bytes, peak(self._process.pid))
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Raises RuntimeError where it has ended meanwhile."""
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._command.command[:4]} has ended by itself")
        os.killpg(self._process.pid, signal.SIGCONT)

    def end(self) -> None:
        """Ends it, paused or not."""
        self.peak_bytes = max(self.peak_bytes, peak(self._process.pid))
        self._signal(signal.SIGCONT)
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        # Its own session, so nobody else is in that group; children may have outlived it.
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._said = self._log.read_text(encoding="utf-8", errors="replace")[-3000:]
        self._log.unlink()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    @property
    def process(self) -> int:
        """Its id."""
        return self._process.pid


def end_on_sigterm() -> None:
    """Lets `with` end the servers, as Ctrl-C does; else those that sleep would be left behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found: int = listener.getsockname()[1]
        return found


def _answers(port: int) -> bool:
    """Whether a prompt of a few tokens gets one more."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request("POST", "/v1/completions", _FIRST, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status == http.client.OK and bool(response.read())
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def peak(root: int) -> int:
    """Bytes of the most memory that a process and its children ever had, in sum, or have had since
    `forget_peak`."""
    return _sum_of("VmHWM", root)


def resident(root: int) -> int:
    """Bytes of memory that a process and its children have, in sum."""
    return _sum_of("VmRSS", root)


def _sum_of(field: str, root: int) -> int:
    found = 0
    for process in family(root):
        with suppress(OSError):
            status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
            lines = [line.split() for line in status.splitlines() if line.startswith(field)]
            found += sum(int(fields[1]) * 1024 for fields in lines)
    return found


def forget_peak(root: int) -> None:
    """Peaks of a process and its children are from now on; see clear_refs in proc(5)."""
    for process in family(root):
        with suppress(OSError):
            Path(f"/proc/{process}/clear_refs").write_text("5", encoding="utf-8")


def family(root: int) -> Iterator[int]:
    """Ids of a process and its children, and theirs."""
    left = [root]
    while left:
        process = left.pop()
        yield process
        with suppress(OSError):
            for task in Path(f"/proc/{process}/task").iterdir():
                left += map(int, (task / "children").read_text(encoding="utf-8").split())

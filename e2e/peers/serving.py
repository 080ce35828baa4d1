"""An engine's server as a process: started, waited for, ended, its memory told."""

import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from e2e.peers.engines import ROOT, Start

START_SECONDS = 600.0
END_SECONDS = 20.0


class Server:
    """From `with` to its end. `ready_seconds` is how long it took from the start of the process to
    the first answer of /v1/models; a first request is part of the warm-up.

    Raises RuntimeError with the end of its log if it does not start.
    """

    def __init__(self, start: Start, port: int) -> None:
        self._start, self.port = start, port
        self.url = f"http://127.0.0.1:{port}"
        self.ready_seconds = 0.0
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self._log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        variables = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", **self._start.variables}
        begun = time.monotonic()
        self._process = subprocess.Popen(
            self._start.command,
            cwd=ROOT,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
            start_new_session=True,
        )
        while time.monotonic() - begun < START_SECONDS and self._process.poll() is None:
            if _answers(self.port):
                self.ready_seconds = time.monotonic() - begun
                return self
            time.sleep(0.05)
        self.__exit__()
        raise RuntimeError(f"{self._start.command[:4]} does not serve:\n{self._said}")

    def __exit__(self, *_: object) -> None:
        self.peak_bytes = _peak(self._process.pid)
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            # Its own session, so nobody else is in that group.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._said = Path(self._log.name).read_text(encoding="utf-8", errors="replace")[-3000:]
        self._log.close()

    @property
    def process(self) -> int:
        """Its id."""
        return self._process.pid


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found: int = listener.getsockname()[1]
        return found


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/v1/models")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _peak(root: int) -> int:
    """Bytes of the most memory that a process and its children ever had, in sum."""
    found, left = 0, [root]
    while left:
        process = left.pop()
        try:
            status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
            for task in Path(f"/proc/{process}/task").iterdir():
                left += map(int, (task / "children").read_text(encoding="utf-8").split())
        except OSError:
            continue
        lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM")]
        found += sum(int(fields[1]) * 1024 for fields in lines)
    return found

"""`plimsoll serve` with one thread on a core of its own; all else is on another core."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from e2e.measured.client import Record, Sending
from e2e.measured.work import Work
from plimsoll_operator.calibration.steps import PATH, Told, parse_steps
from plimsoll_planner.calibration.fit import Sample

START_SECONDS = 120
_API = re.compile(r"^plimsoll: serving \S+ on (http://\S+:\d+) ", re.MULTILINE)
_ADMIN = re.compile(r"^plimsoll: admin port on (http://\S+:\d+)", re.MULTILINE)


class Engine:
    """A server with its engine, from `with` to its end. Raises RuntimeError if it does not start.

    The engine is kept on the first of this process' cores, the server and its client on the last.
    `work` is what these two did for each `send` so far.
    """

    def __init__(self, model: str, *options: str) -> None:
        self._command = [sys.executable, "-m", "plimsoll_runtime.cli", "serve", model]
        self._command += ["--port=0", "--admin-port=0", "--threads=1", "--served-model-name=model"]
        self._command += options
        self.url = self.admin = ""
        self._num_steps = 0
        self.work: list[Work] = []
        self.cores = sorted(os.sched_getaffinity(0))

    def __enter__(self) -> Self:
        self._log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            self._command, stdout=self._log, stderr=self._log, env=environment
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            said = Path(self._log.name).read_text(encoding="utf-8")
            api, admin = _API.search(said), _ADMIN.search(said)
            if api and admin:
                self.url, self.admin = api[1], admin[1]
                self._pin()
                return self
            time.sleep(0.05)
        self.__exit__()
        raise RuntimeError(f"the server did not start:\n{said}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()

    def limits(self) -> dict[str, Any]:
        """What the admin port says of the limits."""
        found: dict[str, Any] = httpx.get(f"{self.admin}/admin/limits").json()
        return found

    def steps(self) -> tuple[Sample, ...]:
        """What the engine computed since the last call, as far as it remembers."""
        total, latest, _ = self._told_steps()
        new, self._num_steps = total - self._num_steps, total
        return latest[len(latest) - min(new, len(latest)) :]

    def send(self, sendings: Sequence[Sending]) -> list[Record]:
        """Sends all at their times, from another process. Raises RuntimeError for any error."""
        where = urlsplit(self.url)
        command = [sys.executable, "-m", "e2e.measured.client", where.hostname, str(where.port)]
        steps, cpu, begin = self._told_steps().num_steps, self._server_seconds(), time.monotonic()
        done = subprocess.run(
            ["taskset", "--cpu-list", str(self.cores[-1]), *map(str, command)],
            input=json.dumps(sendings),
            capture_output=True,
            text=True,
            check=False,
        )
        seconds, cpu = time.monotonic() - begin, self._server_seconds() - cpu
        if done.returncode:
            raise RuntimeError(f"the client failed: {done.stderr}")
        told = json.loads(done.stdout)
        records = [Record(**each) for each in told["records"]]
        wrong = [each.error for each in records if each.error]
        if wrong:
            raise RuntimeError(f"{len(wrong)} of {len(records)} requests failed: {wrong[0]}")
        self.work.append(
            Work(
                len(sendings),
                sum(len(each.body["prompt"]) for each in sendings),
                self._told_steps().num_steps - steps,
                sum(each.events for each in records),
                sum(len(each.tokens) for each in records),
                seconds,
                cpu,
                told["cpu_seconds"],
            )
        )
        return records

    def _told_steps(self) -> Told:
        """What the admin port says of them."""
        where = self.admin + PATH
        return parse_steps(httpx.get(where).text, where)

    def _server_seconds(self) -> float:
        """CPU seconds of the process that speaks HTTP. A thread's file begins with nanoseconds."""
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(each.read_text(encoding="utf-8").split()[0]) for each in threads) * 1e-9

    def _pin(self) -> None:
        for process, command in _processes(self._process.pid):
            core = self.cores[0 if "plimsoll_runtime.engine.service" in command else -1]
            for thread in Path(f"/proc/{process}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {core})


def _processes(root: int) -> list[tuple[int, str]]:
    """A process and its children: ids and command lines."""
    ids = [root]
    for task in Path(f"/proc/{root}/task").iterdir():
        ids += map(int, (task / "children").read_text().split())
    return [(each, Path(f"/proc/{each}/cmdline").read_text()) for each in ids]

"""A server with a model, in processes of its own, as a person would start it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import httpx

from e2e.soak import memory
from e2e.support.watching import metric
from plimsoll_runtime import builtin

READY = re.compile(r"^plimsoll: serving \S+ on (http://\S+:\d+) ", re.MULTILINE)
START_SECONDS = 120
MODEL = "tiny"
TOOLS = "{% if tools %}{{ tools | tojson }} as <tool_call>\n{% endif %}"
"""Put before the model's own chat template, so that there are tools to be called."""


class Server:
    """`plimsoll serve` around the built-in model, in float32; ends with the `with` block."""

    def __init__(self, *options: str) -> None:
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="plimsoll-soak-"))
        self._log = self._folder / "server.log"
        self.url = ""

    def __enter__(self) -> Self:
        model = _with_tools(self._folder / MODEL)
        command = [sys.executable, "-m", "plimsoll_runtime.cli", "serve", str(model), "--port=0"]
        command += [f"--served-model-name={MODEL}", "--dtype=float32", *self._options]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        try:
            self.url = self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder)

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> int | None:
        """The exit code; None when it still runs after `seconds`."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def readings(self) -> dict[str, memory.Reading]:
        """Memory by process: the server, its engine, and what tries out grammars if it runs."""
        found = {"server": memory.read(self._process.pid)}
        for pid, command in _children(self._process.pid):
            try:
                found["grammars" if "grammar_trial" in command else "engine"] = memory.read(pid)
            except (OSError, KeyError):
                continue  # it has just ended; one that tries out grammars may
        return found

    def why_not_idle(self, seconds: float = 10) -> str:
        """Waits until nothing runs or waits and every block is free; what is left if it is not."""
        deadline = time.monotonic() + seconds
        while True:
            text = httpx.get(f"{self.url}/metrics", timeout=60).text
            names = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
            left = {name: metric(text, f"vllm:{name}") for name in names}
            if not any(left.values()):
                return ""
            if time.monotonic() > deadline:
                return f"not idle after {seconds:.0f} s: {left}"
            time.sleep(0.05)

    def _wait_until_ready(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.alive:
            found = READY.search(self.log)
            if found:
                return found[1]
            time.sleep(0.05)
        raise RuntimeError(f"the server did not start:\n{self.log}")


def _with_tools(folder: Path) -> Path:
    shutil.copytree(builtin.path(MODEL), folder)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["chat_template"] = TOOLS + config["chat_template"]
    file.write_text(json.dumps(config), encoding="utf-8")
    return folder


def _children(parent: int) -> Sequence[tuple[int, str]]:
    """Process ids and command lines."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, ppid = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if int(ppid) == parent and state != "Z":
            found.append((int(folder.name), command))
    return found

"""A server of one model, from its start to its end."""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

START_SECONDS = 300.0
_READY = re.compile(r"^plimsoll: serving \S+ on (http://\S+:\d+) ", re.MULTILINE)


def command_of(module: str) -> list[str]:
    """A command of ours where nothing is installed, and so no entry point is known."""
    program = f"import sys; from {module} import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-c", program]


class Served:
    """`plimsoll serve` with what it said at its start. Raises RuntimeError where it does not."""

    def __init__(self, model: Path, *options: str) -> None:
        command = command_of("plimsoll_runtime.server.command")
        self._command = [*command, str(model), "--port=0", *options]
        self._log = Path(tempfile.mkdtemp(prefix="plimsoll-served-")) / "log"
        self.url = ""

    @property
    def said(self) -> str:
        """All of its output so far."""
        return self._log.read_text(encoding="utf-8")

    def __enter__(self) -> Self:
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if found := _READY.search(self.said):
                self.url = found[1]
                return self
            time.sleep(0.1)
        self.__exit__()
        raise RuntimeError(f"the server did not start:\n{self.said}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

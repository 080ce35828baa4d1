"""An operator of some checkout, as `plimsoll operator` starts it, and what its process has used."""

import json
import os
import subprocess
import sys
from pathlib import Path

from e2e.soak.memory import read

TICK = os.sysconf("SC_CLK_TCK")


class OperatorProcess:
    """Runs from its making until `stop`. `port` is its own, for probes and metrics."""

    def __init__(self, checkout: Path, kubeconfig: Path, port: int, log: Path) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(kubeconfig.parent),
            "KUBECONFIG": str(kubeconfig),
            "PYTHONPATH": f"{checkout / 'operator'}:{checkout / 'runtime'}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "MALLOC_ARENA_MAX": "2",  # as manifests/ set it
        }
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "plimsoll_runtime.cli", "operator", f"--http-port={port}"],
                env=environment,
                stdout=out,
                stderr=out,
            )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        """CPU of the operator's own process; plans are made in another one."""
        text = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii")
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory(self) -> int:
        """Anonymous bytes of all its processes."""
        found = 0
        pids = [self._process.pid]
        for pid in pids:
            try:
                found += read(pid).anonymous
                for children in Path(f"/proc/{pid}/task").glob("*/children"):
                    pids.extend(map(int, children.read_text(encoding="ascii").split()))
            except OSError:
                continue  # it has ended meanwhile
        return found

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def kubeconfig(url: str, authority: Path) -> str:
    """A kubeconfig, which may be JSON, for a server that asks for no right token."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "c", "cluster": {"server": url, "certificate-authority": str(authority)}}
            ],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    )

"""The operator as a process of its own that can be killed at any moment.

Processes are forked from one that has imported everything, so that a hundred starts cost little;
what runs is what `plimsoll operator` runs.
"""

import asyncio
import json
import multiprocessing
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["e2e.faults.operator_imports"])

TRIAL_REQUESTS = 0
"""None: that plans are good is shown elsewhere, and here hundreds are made. So they are made in the
operator's own process, which as a daemon of ours could not start another."""


@dataclass(frozen=True)
class Pace:
    """How often an operator looks without cause, lists anew, and how long a watch may say nothing
    (None: what is shipped), all in seconds."""

    resync: float = 60.0
    relist: float = 300.0
    inactivity: float | None = None


SHIPPED = Pace()


@dataclass(frozen=True)
class Start:
    """What an operator is started with. Without `namespaces` it serves the whole cluster."""

    kubeconfig: Path
    log: Path
    namespaces: tuple[str, ...]
    pace: Pace = SHIPPED


def _run(start: Start) -> None:
    from e2e.faults import operator_imports as imports

    out = os.open(start.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, sys.stderr.fileno())
    # The client has read KUBECONFIG when it was imported.
    imports.kube_config.KUBE_CONFIG_DEFAULT_LOCATION = str(start.kubeconfig)
    if start.pace.inactivity is not None:
        imports.handlers.INACTIVITY_SECONDS = start.pace.inactivity  # type: ignore[assignment]
    imports.log.configure("info")
    settings = imports.Settings(
        rendering=imports.Rendering("docker.io/plimsoll/runtime:dev", "IfNotPresent"),
        namespaces=start.namespaces,
        resync=start.pace.resync,
        relist=start.pace.relist,
        http_port=0,
        trial_requests=TRIAL_REQUESTS,
    )

    async def serve() -> bool:
        cluster = imports.Cluster.connect(settings.connections)
        return await imports.handlers.serve(imports.Manager(settings, cluster), start.namespaces)

    sys.exit(0 if asyncio.run(serve()) else 1)


class OperatorProcess:
    """One operator, running from its making until `kill`."""

    def __init__(self, start: Start) -> None:
        self.log = start.log
        self._process = _CONTEXT.Process(target=_run, args=(start,), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def waited(self) -> float:
        """Seconds for which it could have gone on, had a core been free (its main thread)."""
        fields = Path(f"/proc/{self.pid}/schedstat").read_text(encoding="ascii").split()
        return int(fields[1]) / 1e9

    def kill(self) -> None:
        """SIGKILL, and the wait until it is gone."""
        self._process.kill()
        self._process.join()


def complaints(log: Path) -> list[dict[str, Any]]:
    """Lines of a log that tell of an exception that nobody expected, or are no log lines.

    That it will try again kopf says as an error.
    """
    found: list[dict[str, Any]] = []
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            found.append({"message": line})
            continue
        wrong = entry["level"] in ("error", "critical") and "will retry" not in entry["message"]
        if wrong or "exception" in entry:
            found.append(entry)
    return found

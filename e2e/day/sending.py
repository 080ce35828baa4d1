"""The sender's pod: starts it, and reads what it says."""

import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from e2e.day.request import Sent, parse_log
from e2e.support.kubectl import Kubectl, eventually
from e2e.support.resources import script_pod
from e2e.support.traffic import Arrival

NAME = "sender"
FOLDER = "/var/run/day"
SCRIPT = Path(__file__).with_name("sender.py")
MOST_BYTES = 1_000_000
"""That a ConfigMap holds."""
READ_SECONDS = 20.0
TRIES = 5
"""To read all of the log in the end."""
OVERLAP_SECONDS = 60
"""By which what is read reaches back behind the last reading."""
CPU = "100m"


class TooManyRequestsError(ValueError):
    """They do not fit into a ConfigMap."""


class Sending:
    """Sends `arrivals` from within the cluster, open loop. The log is read now and then, so that
    what is known so far is here whatever becomes of the pod."""

    def __init__(self, kubectl: Kubectl, image: str, arrivals: Sequence[Arrival]) -> None:
        self._kubectl, self._image, self._arrivals = kubectl, image, arrivals
        self._sent = Sent(None, {}, done=False)
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read_now_and_then, daemon=True)

    def start(self, host: str, model: str) -> float:
        """The time (seconds of the epoch) from which the arrivals count.

        Raises TooManyRequestsError, and AssertionError when the pod does not begin.
        """
        table = "\n".join(f"{a.at:g} {a.prompt_tokens} {a.output_tokens}" for a in self._arrivals)
        if len(table) > MOST_BYTES:
            raise TooManyRequestsError(
                f"{len(self._arrivals)} requests make {len(table)} bytes, more than the "
                f"{MOST_BYTES} of a ConfigMap: ask for fewer hours or a lower peak"
            )
        config = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME},
            "data": {"arrivals": table},
        }
        self._kubectl.create(config)
        volumes = {FOLDER: {"configMap": {"name": NAME}}}
        arguments = (host, model, f"{FOLDER}/arrivals")
        pod = script_pod(NAME, self._image, SCRIPT.read_text(), *arguments, volumes=volumes)
        # Its clock is what requests are measured by.
        requests = {"requests": {"cpu": CPU, "memory": "64Mi"}}
        pod["spec"]["containers"][0]["resources"] = requests
        self._kubectl.create(pod)

        def began() -> float | None:
            self._read("--tail=5")
            return self._sent.start

        start = eventually("the sender begins", began, timeout=120)
        self._reader.start()
        return start

    @property
    def sent(self) -> Sent:
        """What is known so far."""
        return self._sent

    def stop(self) -> Sent:
        """All that it has said until now; the pod goes."""
        self._stop.set()
        if self._reader.is_alive():
            self._reader.join(timeout=60)
        for _ in range(TRIES):
            if self._read():
                break
        self._kubectl.run("delete", "pod", NAME, "--grace-period=1", "--wait=false", check=False)
        return self._sent

    def _read_now_and_then(self) -> None:
        reach = int(READ_SECONDS + OVERLAP_SECONDS)
        while not self._stop.wait(READ_SECONDS):
            self._read(f"--since={reach}s")

    def _read(self, *arguments: str) -> bool:
        """Whether the log could be read."""
        try:
            log = self._kubectl.run("logs", f"pod/{NAME}", *arguments, check=False, timeout=60)
        except subprocess.TimeoutExpired:
            return False
        told = parse_log(log.stdout.splitlines(), self._arrivals)
        known = self._sent
        self._sent = Sent(
            known.start if told.start is None else told.start,
            known.requests | told.requests,
            known.done or told.done,
        )
        return log.returncode == 0

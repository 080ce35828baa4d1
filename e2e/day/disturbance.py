"""Carries out what a schedule says, and waits until all is well again."""

import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import httpx

from e2e.day.attribution import Kill
from e2e.day.edits import ANNOTATION, edit
from e2e.day.observer import Observer, is_ready
from e2e.day.schedule import BREAKS_REQUESTS, Event, Kind
from e2e.support.kubectl import Kubectl, Object, is_true
from plimsoll_operator.status.pod_trouble import UNSCHEDULABLE

RECOVERY_SECONDS = 240.0
"""Until all must be well again after an event; longer is a failure of the run."""
ROOM_SECONDS = 60.0
"""That a kill waits for a second ready pod before it is left out."""
GONE_SECONDS = 30.0
PATCHES, PATCH_SECONDS = 4, 5.0
"""How often an edit is tried, and the seconds between."""
OPERATOR = "deployment/plimsoll-operator"
OPERATOR_PODS = "app.kubernetes.io/name=plimsoll-operator"
KILL_ENGINE = """
import os, signal
for entry in os.listdir("/proc"):
    if entry.isdigit() and int(entry) not in (1, os.getpid()):
        with open(f"/proc/{entry}/stat") as stat:
            parent = stat.read().rpartition(")")[2].split()[1]
        if parent == "1":
            os.kill(int(entry), signal.SIGKILL)
            print(entry)
"""
"""The server is process 1, which nothing in its container can kill; the engine is its child."""


@dataclass
class Happened:
    """What an event came to; seconds from the start. `wrong` is empty where all was well again,
    `no_room` is what the status said of an edit whose plan takes more than the node has."""

    kind: Kind
    at: float
    until: float = 0.0
    pod: str = ""
    left_out: str = ""
    wrong: str = ""
    no_room: str = ""


class Interrupted(Exception):  # noqa: N818 (nothing is wrong)
    """The run ends."""


def no_room(resource: Object) -> str:
    """Pure: what its status says of pods that no node has room for; empty where it says nothing."""
    for condition in resource.get("status", {}).get("conditions", ()):
        if condition["reason"] == UNSCHEDULABLE:
            return str(condition["message"])
    return ""


@dataclass
class Disturber:
    """Does one thing after the other. `stop` ends whatever it waits for."""

    kubectl: Kubectl
    system: Kubectl
    name: str
    observer: Observer
    spec: Object
    stop: threading.Event
    say: Callable[[str], None]
    happened: list[Happened] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)

    def carry_out(self, event: Event) -> None:
        """Does it, takes it back, and notes what came of it. Raises Interrupted."""
        found = Happened(event.kind, self.observer.now())
        self.happened.append(found)
        try:
            self._do(event, found)
        except (RuntimeError, subprocess.SubprocessError, httpx.HTTPError, TimeoutError) as error:
            found.wrong = f"{type(error).__name__}: {error}"[:500]
        finally:
            found.until = self.observer.now()
        outcome = found.left_out or found.wrong or found.no_room or "well again"
        self.say(f"{found.at:7.0f} s  {found.kind}: {outcome} after {found.until - found.at:.0f} s")

    def put_back(self) -> None:
        """The operator runs, whatever was under way."""
        self.system.run("scale", OPERATOR, "--replicas=1", check=False)

    def _do(self, event: Event, found: Happened) -> None:
        match event.kind:
            case Kind.POD_DELETED | Kind.POD_FORCED | Kind.ENGINE_KILLED:
                self._kill_pod(event.kind, found)
            case Kind.OPERATOR_KILLED:
                self._kill_operator()
            case Kind.OPERATOR_AWAY:
                self.system.run("scale", OPERATOR, "--replicas=0")
                self._pause(event.hold)
                self.system.run("scale", OPERATOR, "--replicas=1")
            case _:
                self._edit(event, found)
        self._until("all is well again", self._is_well)

    def _kill_pod(self, kind: Kind, found: Happened) -> None:
        serving: list[str] = []

        def has_room() -> bool:
            serving[:] = [
                pod["metadata"]["name"]
                for pod in self.observer.pods()
                if is_ready(pod) and self.observer.is_served(pod["metadata"]["name"])
            ]
            return len(serving) > 1

        try:
            self._until("two pods serve", has_room, ROOM_SECONDS)
        except TimeoutError:
            found.left_out = f"left out: {len(serving)} pods serve"
            return
        found.pod = sorted(serving)[len(self.happened) % len(serving)]
        restarts = self.observer.restarts_of(found.pod)
        found.at = self.observer.now()
        if kind is Kind.ENGINE_KILLED:
            command = ("-c", "engine", "--", "python3", "-c", KILL_ENGINE)
            killed = self.kubectl.run("exec", found.pod, *command).stdout.split()
            if not killed:
                raise RuntimeError("the container has no process that could be killed")
        elif kind is Kind.POD_FORCED:
            self.kubectl.run("delete", "pod", found.pod, "--grace-period=0", "--force")
        else:
            self.kubectl.run("delete", "pod", found.pod, "--wait=false")
        if kind not in BREAKS_REQUESTS:
            return
        with suppress(TimeoutError):
            # A container that is restarted may have served again between two looks.
            self._until(
                "the Service leaves it out",
                lambda: (
                    not self.observer.is_served(found.pod)
                    or self.observer.restarts_of(found.pod) > restarts
                ),
                GONE_SECONDS,
                0.1,
            )
        self.kills.append(Kill(found.pod, found.at, self.observer.now()))

    def _kill_operator(self) -> None:
        for pod in self._operator_pods():
            name = pod["metadata"]["name"]
            self.system.run("delete", "pod", name, "--grace-period=0", "--force", check=False)

    def _operator_pods(self) -> list[Object]:
        return self.observer.pods_by(self.system.namespace, OPERATOR_PODS)

    def _edit(self, event: Event, found: Happened) -> None:
        number = len(self.happened)
        edited = edit(event.kind, number, self.spec)
        self._patch(edited.there)
        try:
            match event.kind:
                case Kind.PAUSE:
                    self._pause(event.hold)
                    self._check_paused(str(number))
                    self._patch({"rollout": {"paused": None}})
                    self._until("the rollout that was resumed is through", self._is_well)
                case Kind.KILLED_IN_ROLLOUT:
                    self._until("the rollout has begun", self._has_two_revisions, 60, 0.2)
                    self._kill_operator()
                    self._until("the rollout is through", self._is_well)
                case _:
                    self._follow(found)
                    self._pause(event.hold)
        finally:
            self._patch(edited.back)
        self._pause(1.0)

    def _follow(self, found: Happened) -> None:
        """The plan for an edit may take more than the node has; then the status must say so, and
        the pods of before serve on."""
        try:
            self._until("the edit is followed", self._is_well)
        except TimeoutError:
            found.no_room = no_room(self.observer.resource())
            if not found.no_room:
                raise

    def _check_paused(self, number: str) -> None:
        for pod in self.observer.pods():
            if pod["metadata"].get("annotations", {}).get(ANNOTATION) == number:
                raise RuntimeError(f"{pod['metadata']['name']} was rolled out while paused")

    def _has_two_revisions(self) -> bool:
        label = "pod-template-hash"
        hashes = {pod["metadata"]["labels"].get(label) for pod in self.observer.pods()}
        return len(hashes) > 1

    def _patch(self, spec: Object) -> None:
        """Also by an API server that is busy for a while: an edit must not stay by mistake."""
        for left in reversed(range(PATCHES)):
            try:
                self.kubectl.merge("llmdeployment", self.name, {"spec": spec})
            except (RuntimeError, subprocess.SubprocessError):
                if not left:
                    raise
                self._pause(PATCH_SECONDS)
            else:
                return

    def _is_well(self) -> bool:
        """The newest edit serves with every replica that is wanted, and the operator is ready."""
        resource = self.observer.resource()
        status = resource.get("status", {})
        if not is_true(resource, "Ready") or not status.get("replicas"):
            return False
        ready = sum(map(is_ready, self.observer.pods()))
        if ready < min(status["replicas"], resource["spec"]["scaling"]["maxReplicas"]):
            return False
        return any(map(is_ready, self._operator_pods()))

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Interrupted

    def _until(
        self,
        what: str,
        probe: Callable[[], bool],
        seconds: float = RECOVERY_SECONDS,
        every: float = 1.0,
    ) -> None:
        """Raises TimeoutError, or Interrupted."""
        deadline = self.observer.now() + seconds
        while True:
            with suppress(httpx.HTTPError):
                if probe():
                    return
            if self.observer.now() > deadline:
                raise TimeoutError(f"not within {seconds:.0f} s: {what}")
            self._pause(every)

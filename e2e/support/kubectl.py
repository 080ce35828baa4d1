"""kubectl as a person uses it, and waiting for what it shows."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

T = TypeVar("T")
Object = dict[str, Any]


@dataclass(frozen=True)
class Kubectl:
    """kubectl against one kubeconfig and, by default, one namespace."""

    kubeconfig: str
    namespace: str = "default"

    def run(
        self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl. Raises RuntimeError with what it printed when `check` and it failed."""
        command = ["kubectl", "--namespace", self.namespace, *arguments]
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env={**os.environ, "KUBECONFIG": self.kubeconfig},
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout}")
        return done

    def apply(self, *objects: Object) -> None:
        """`kubectl apply` of some objects."""
        self.run("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def create(self, resource: Object) -> None:
        """`kubectl create`: unlike applying it, for objects of any size."""
        self.run("create", "-f", "-", stdin=yaml.safe_dump(resource))

    def refused(self, resource: Object) -> str:
        """What `kubectl apply` answers to an object that it must refuse."""
        done = self.run("apply", "-f", "-", stdin=yaml.safe_dump(resource), check=False)
        if done.returncode == 0:
            self.run("delete", "-f", "-", stdin=yaml.safe_dump(resource))
            raise AssertionError(f"accepted: {yaml.safe_dump(resource)}")
        return done.stderr

    def get(self, kind: str, name: str) -> Object | None:
        """One object, or None."""
        done = self.run("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def list(self, kinds: str, selector: str = "", all_namespaces: bool = False) -> list[Object]:
        """Objects of some kinds, such as `pods,services`."""
        arguments = ["get", kinds, "-o", "json"]
        if selector:
            arguments += ["-l", selector]
        if all_namespaces:
            arguments.append("-A")
        items = json.loads(self.run(*arguments).stdout)["items"]
        return [item for item in items if isinstance(item, dict)]

    def merge(self, kind: str, name: str, patch: Object) -> None:
        """`kubectl patch --type=merge`."""
        self.run("patch", kind, name, "--type=merge", "-p", json.dumps(patch))


def eventually(
    what: str, probe: Callable[[], T | None], timeout: float = 120, every: float = 0.5
) -> T:
    """The first truthy value of `probe`. Raises AssertionError naming `what` after `timeout` s."""
    deadline = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:.0f} s: {what}; last seen: {value!r}")
        time.sleep(every)


def condition(resource: Object | None, kind: str) -> Object | None:
    """The condition of that type, if the resource has it."""
    conditions = ((resource or {}).get("status") or {}).get("conditions") or []
    return next((item for item in conditions if item["type"] == kind), None)


def is_true(resource: Object | None, kind: str) -> bool:
    """Whether the condition is True for the resource's present generation."""
    found = condition(resource, kind)
    return bool(
        resource
        and found
        and found["status"] == "True"
        and found["observedGeneration"] == resource["metadata"]["generation"]
    )

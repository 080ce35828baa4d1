"""Watches one LLMDeployment over the run: its replicas, its pods and their restarts."""

import threading
import time
from dataclasses import dataclass
from typing import Any

import httpx

from e2e.support.resources import pods_of

EVERY_SECONDS = 2.0
Object = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """What there was `at` seconds from the start: pods that are asked for and not gone yet, those
    of them that are ready, and replicas that the status asks for."""

    at: float
    pods: int
    ready: int
    wanted: int


def is_ready(pod: Object) -> bool:
    """By its condition; one that is on its way out is not."""
    conditions = pod.get("status", {}).get("conditions", ())
    return "deletionTimestamp" not in pod["metadata"] and any(
        each["type"] == "Ready" and each["status"] == "True" for each in conditions
    )


class Observer:
    """Looks every EVERY_SECONDS until stopped. An API server that does not answer leaves a gap."""

    def __init__(self, proxy: str, namespace: str, name: str, start: float) -> None:
        self._http = httpx.Client(base_url=proxy, timeout=10)
        self._namespace = namespace
        group = "/apis/plimsoll.dev/v1alpha1"
        self._resource = f"{group}/namespaces/{namespace}/llmdeployments/{name}"
        self._slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        self._name, self._start = name, start
        self.samples: list[Sample] = []
        self.restarts: dict[str, int] = {}
        self.seen: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def now(self) -> float:
        """Seconds from the start."""
        return time.time() - self._start

    def stop(self) -> None:
        """Ends the looks."""
        self._stop.set()
        self._thread.join(timeout=30)
        self._http.close()

    def pods(self) -> list[Object]:
        """All engine pods. Raises httpx.HTTPError."""
        return self.pods_by(self._namespace, pods_of(self._name))

    def pods_by(self, namespace: str, selector: str) -> list[Object]:
        """Pods by their labels. Raises httpx.HTTPError."""
        path = f"/api/v1/namespaces/{namespace}/pods"
        found = self._get(path, labelSelector=selector)["items"]
        return [pod for pod in found if isinstance(pod, dict)]

    def resource(self) -> Object:
        """The LLMDeployment. Raises httpx.HTTPError."""
        return self._get(self._resource)

    def restarts_of(self, pod: str) -> int:
        """Of its engine, now. Raises httpx.HTTPError; a pod that is gone has none."""
        found = [each for each in self.pods() if each["metadata"]["name"] == pod]
        return sum(map(_restarts, found))

    def is_served(self, pod: str) -> bool:
        """Whether the Service leads to the pod. Raises httpx.HTTPError."""
        selector = f"kubernetes.io/service-name={self._name}"
        slices = self._get(self._slices, labelSelector=selector)["items"]
        return any(
            endpoint.get("targetRef", {}).get("name") == pod
            and endpoint.get("conditions", {}).get("ready") is not False
            for each in slices
            for endpoint in each.get("endpoints") or ()
        )

    def _get(self, path: str, **parameters: str) -> Object:
        answer = self._http.get(path, params=parameters)
        answer.raise_for_status()
        found: Object = answer.json()
        return found

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            try:
                pods, resource = self.pods(), self.resource()
            except (httpx.HTTPError, ValueError):
                continue
            for pod in pods:
                name = pod["metadata"]["name"]
                self.seen.add(name)
                self.restarts[name] = _restarts(pod)
            living = [pod for pod in pods if pod["status"]["phase"] in ("Pending", "Running")]
            wanted = resource.get("status", {}).get("replicas") or 0
            self.samples.append(Sample(self.now(), len(living), sum(map(is_ready, pods)), wanted))


def _restarts(pod: Object) -> int:
    return sum(state["restartCount"] for state in pod["status"].get("containerStatuses", ()))

"""When objects appeared, by the API server's watch rather than by their one-second timestamps."""

import json
import threading
import time
from collections.abc import Callable

import httpx

KINDS = {
    "LLMDeployment": "/apis/plimsoll.dev/v1alpha1/llmdeployments",
    "Deployment": "/apis/apps/v1/deployments",
    "Service": "/api/v1/services",
    "ServiceAccount": "/api/v1/serviceaccounts",
    "PodDisruptionBudget": "/apis/policy/v1/poddisruptionbudgets",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
}
METADATA = {"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}


class Appearances:
    """Seconds (monotonic) at which objects of a namespace were first seen, by kind and name."""

    def __init__(self, proxy: str, namespace: str, seconds: float = 300) -> None:
        self._seconds = int(seconds)
        self.seen: dict[tuple[str, str], float] = {}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._watch, args=(f"{proxy}{path}", namespace, kind), daemon=True
            )
            for kind, path in KINDS.items()
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Says that the watches may end, which they do with the proxy."""
        self._stop.set()

    def _watch(self, url: str, namespace: str, kind: str) -> None:
        parameters = {
            "watch": "1",
            "timeoutSeconds": str(self._seconds),
            "fieldSelector": f"metadata.namespace={namespace}",
        }
        try:
            with httpx.stream(
                "GET", url, params=parameters, headers=METADATA, timeout=self._seconds + 10
            ) as response:
                for line in response.iter_lines():
                    event = json.loads(line)
                    if event["type"] == "ADDED":
                        name = event["object"]["metadata"]["name"]
                        self.seen.setdefault((kind, name), time.monotonic())
        except httpx.HTTPError:
            # The proxy ends before the watch does; only an early end is a fault.
            if not self._stop.is_set():
                raise


def percentile(values: list[float], fraction: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def metric(text: str, name: str, keep: Callable[[str], bool] = lambda _: True) -> float:
    """Sum of a metric's samples in Prometheus text whose line `keep` accepts."""
    lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if keep(line))

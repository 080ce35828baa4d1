"""A fleet of LLMDeployments on GPUs that are not there: created at once, and timed."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from e2e.support.kubectl import Kubectl
from e2e.support.resources import Object, tiny
from e2e.support.watching import Appearances

CHILDREN = (
    ("Deployment", "{}"),
    ("Service", "{}"),
    ("Service", "{}-metrics"),
    ("ServiceAccount", "{}"),
    ("PodDisruptionBudget", "{}"),
    ("NetworkPolicy", "{}"),
)
CLIENTS = 8


def member(name: str, requests_per_second: str = "500m") -> Object:
    """The built-in model on one fake GPU; another load is another plan."""
    resource = tiny(
        name,
        accelerators={"allow": ["NVIDIA-H200"]},
        precision={"weights": "BF16", "kvCache": "BF16"},
    )
    resource["spec"]["workload"]["requestsPerSecond"] = requests_per_second
    return resource


def create_at_once(proxy: str, namespace: str, resources: Sequence[Object]) -> None:
    """Creates them by several clients at a time: kubectl would go slowly."""
    path = f"/apis/plimsoll.dev/v1alpha1/namespaces/{namespace}/llmdeployments"
    with httpx.Client(base_url=proxy, timeout=60) as client, ThreadPoolExecutor(CLIENTS) as pool:
        for answer in pool.map(lambda item: client.post(path, json=item), resources):
            answer.raise_for_status()


def complete(appearances: Appearances, names: Sequence[str]) -> bool:
    """Whether all children of all of them have been seen."""
    return all(
        (kind, form.format(name)) in appearances.seen for name in names for kind, form in CHILDREN
    )


def waits(appearances: Appearances, names: Sequence[str]) -> list[float]:
    """Seconds from each resource to the last of its children."""
    return [
        max(appearances.seen[kind, form.format(name)] for kind, form in CHILDREN)
        - appearances.seen["LLMDeployment", name]
        for name in names
    ]


def operator_metrics(system: Kubectl) -> str:
    """What the operator's /metrics says."""
    (pod,) = system.list("pods", "app.kubernetes.io/name=plimsoll-operator")
    name = pod["metadata"]["name"]
    path = f"/api/v1/namespaces/{system.namespace}/pods/{name}:8080/proxy/metrics"
    return system.run("get", "--raw", path).stdout


def versions(kubectl: Kubectl) -> dict[str, str]:
    """resourceVersion of every LLMDeployment: changes with any write to it."""
    return {
        item["metadata"]["name"]: item["metadata"]["resourceVersion"]
        for item in kubectl.list("llmdeployments")
    }

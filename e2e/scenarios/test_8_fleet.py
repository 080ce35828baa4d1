"""200 LLMDeployments on GPU nodes that KWOK pretends: speed, memory, and silence when idle."""

import time

import pytest

from e2e.support.kubectl import Kubectl, eventually, is_true
from e2e.support.resources import tiny
from e2e.support.watching import Appearances, metric, percentile

FLEET = 200
CHILDREN = [
    ("Deployment", "{}"),
    ("Service", "{}"),
    ("Service", "{}-metrics"),
    ("ServiceAccount", "{}"),
    ("PodDisruptionBudget", "{}"),
    ("NetworkPolicy", "{}"),
]


def operator_metrics(system: Kubectl) -> str:
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


@pytest.mark.timeout(420)
def test_fleet(kubectl: Kubectl, system: Kubectl, proxy: str, fake_gpus: None) -> None:
    names = [f"fleet-{number:03d}" for number in range(FLEET)]
    fleet = [
        tiny(
            name,
            accelerators={"allow": ["NVIDIA-H200"]},
            precision={"weights": "BF16", "kvCache": "BF16"},
        )
        for name in names
    ]
    appearances = Appearances(proxy, kubectl.namespace)
    kubectl.apply(*fleet)

    def complete() -> bool:
        return all(
            (kind, form.format(name)) in appearances.seen
            for name in names
            for kind, form in CHILDREN
        )

    eventually("all children of all resources", complete, timeout=180)
    waits = [
        max(appearances.seen[kind, form.format(name)] for kind, form in CHILDREN)
        - appearances.seen["LLMDeployment", name]
        for name in names
    ]
    appearances.stop()
    eventually(
        "all ready",
        lambda: all(is_true(item, "Ready") for item in kubectl.list("llmdeployments")),
        timeout=180,
        every=3,
    )
    # Idle: let the last status writes settle, then no write at all in a minute.
    time.sleep(15)
    before, start = operator_metrics(system), versions(kubectl)
    time.sleep(60)
    after, end = operator_metrics(system), versions(kubectl)
    writes = metric(after, "plimsoll_operator_writes_total") - metric(
        before, "plimsoll_operator_writes_total"
    )
    memory = metric(after, "process_resident_memory_bytes")
    print(
        f"{FLEET} resources: apply to children p50 {percentile(waits, 0.5):.2f} s, "
        f"p99 {percentile(waits, 0.99):.2f} s; operator {memory / 2**20:.0f} MiB resident; "
        f"writes per idle resource per minute {writes / FLEET:g}"
    )
    assert start == end
    assert writes == 0
    assert percentile(waits, 0.99) < 30
    assert memory < 256 * 2**20

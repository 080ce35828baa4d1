"""1,000 LLMDeployments and 2,000 GPU nodes that KWOK pretends: speed, memory, calls, a restart.

PLIMSOLL_FLEET and PLIMSOLL_FLEET_NODES are other numbers to try. The times are those of a cluster
whose API server has cores of its own: it spends nearly three times what the operator does.
"""

import json
import os
import time
from collections.abc import Callable, Iterator

import pytest

from e2e.cluster.fake_gpus import FakeGpus
from e2e.cluster.handle import ClusterHandle
from e2e.support.api_calls import api_calls, counted
from e2e.support.fake_nodes import fake_nodes
from e2e.support.fleet import complete, create_at_once, member, operator_metrics, versions, waits
from e2e.support.install import namespace
from e2e.support.kubectl import Kubectl, eventually, is_true
from e2e.support.watching import Appearances, metric, percentile

FLEET = int(os.environ.get("PLIMSOLL_FLEET", "1000"))
NODES = int(os.environ.get("PLIMSOLL_FLEET_NODES", "2000"))
SINGLY = 20
PATIENCE = 900.0
NAMESPACE = "plimsoll-fleet"
AT_ONCE_SECONDS = 30.0
SINGLY_SECONDS = 2.0
MEMORY_MIB = 250
CALLS_A_MINUTE = 1.0
RESTART_SECONDS = 60.0


@pytest.fixture
def nodes(cluster: ClusterHandle) -> Iterator[None]:
    with fake_nodes(cluster, NODES, FakeGpus("NVIDIA-H200", 143771)):
        yield


@pytest.fixture
def fleet(system: Kubectl) -> Iterator[Kubectl]:
    """kubectl in a namespace that is new, and goes with all that is in it."""
    system.run("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout=PATIENCE)
    yield namespace(system, NAMESPACE)
    system.run("delete", "namespace", NAMESPACE, timeout=PATIENCE)


def memory_mib(system: Kubectl) -> float:
    """Resident memory of all processes of the operator's pod, as its kubelet says."""
    (pod,) = system.list("pods", "app.kubernetes.io/name=plimsoll-operator")
    path = f"/api/v1/nodes/{pod['spec']['nodeName']}/proxy/stats/summary"
    summary = json.loads(system.run("get", "--raw", path).stdout)
    (found,) = (
        item for item in summary["pods"] if item["podRef"]["name"] == pod["metadata"]["name"]
    )
    return sum(int(each["memory"]["rssBytes"]) for each in found["containers"]) / 2**20


def peak_until(reached: Callable[[], bool], system: Kubectl, what: str) -> float:
    """The most memory in MiB that was seen until `reached`."""
    peak = 0.0

    def look() -> bool:
        nonlocal peak
        peak = max(peak, memory_mib(system))
        return reached()

    eventually(what, look, timeout=PATIENCE, every=2)
    return peak


def restart(system: Kubectl, resources: int) -> float:
    """Seconds from the operator's end until it has looked at all resources and rests."""
    began = time.monotonic()
    system.run("rollout", "restart", "deployment/plimsoll-operator")
    system.run("rollout", "status", "deployment/plimsoll-operator", "--timeout=180s", timeout=200)

    def steady() -> bool:
        text = operator_metrics(system)
        looked = metric(text, "plimsoll_operator_reconciles_total")
        return looked >= resources and metric(text, "plimsoll_operator_queue_depth") == 0

    eventually("all resources have been looked at", steady, timeout=PATIENCE)
    return time.monotonic() - began


@pytest.mark.timeout(3600)
def test_fleet_at_scale(system: Kubectl, fleet: Kubectl, proxy: str, nodes: None) -> None:
    names = [f"fleet-{number:04d}" for number in range(FLEET)]
    with counted(system):
        appearances = Appearances(proxy, NAMESPACE, seconds=PATIENCE)
        time.sleep(2)
        create_at_once(proxy, NAMESPACE, [member(name) for name in names])
        peak = peak_until(lambda: complete(appearances, names), system, "all children")
        at_once = waits(appearances, names)
        print(
            f"\n{FLEET} resources at once on {NODES} nodes: apply to children "
            f"p50 {percentile(at_once, 0.5):.2f} s, p99 {percentile(at_once, 0.99):.2f} s"
        )

        def all_ready() -> bool:
            return all(is_true(item, "Ready") for item in fleet.list("llmdeployments"))

        peak = max(peak, peak_until(all_ready, system, "all ready"))
        created = api_calls(system)
        time.sleep(90)  # The last status writes, and the planner's process goes.
        before, start = api_calls(system), versions(fleet)
        time.sleep(120)
        calls = (api_calls(system) - before) / 2 / FLEET
        assert versions(fleet) == start
        print(
            f"operator at most {peak:.0f} MiB, {memory_mib(system):.0f} MiB at rest; "
            f"{created / FLEET:.1f} calls a resource, then {calls:.3f} a minute"
        )
        single: list[float] = []
        for number in range(SINGLY):
            name = f"single-{number:02d}"
            fleet.apply(member(name, f"{600 + number}m"))
            eventually(name, lambda name=name: complete(appearances, [name]), every=0.05)  # type: ignore[misc]
            single += waits(appearances, [name])
        print(
            f"{SINGLY} more, one at a time, each with a plan of its own: "
            f"p50 {percentile(single, 0.5):.2f} s, most {max(single):.2f} s"
        )
        appearances.stop()
        eventually("all ready again", all_ready, timeout=PATIENCE, every=2)
        time.sleep(10)
        start = versions(fleet)
        seconds = restart(system, FLEET + SINGLY)
        writes = metric(operator_metrics(system), "plimsoll_operator_writes_total")
        print(f"operator restarted: steady after {seconds:.1f} s, {writes:.0f} writes")
        peak = max(peak, memory_mib(system))
    assert versions(fleet) == start
    assert writes == 0
    assert calls <= CALLS_A_MINUTE
    assert peak <= MEMORY_MIB
    assert seconds <= RESTART_SECONDS
    assert max(single) <= SINGLY_SECONDS
    assert percentile(at_once, 0.99) <= AT_ONCE_SECONDS

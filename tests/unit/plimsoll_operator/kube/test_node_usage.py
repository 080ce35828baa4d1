"""What is short is read of few nodes, seldom, and only where replicas find no room."""

import copy
from typing import Any

from plimsoll_operator.kube.api_server import ClusterError
from plimsoll_operator.kube.kinds import NODE, Kind
from plimsoll_operator.kube.node_usage import FRESH_SECONDS, MOST_NODES, MOST_READS, RoomReader
from plimsoll_operator.kube.store import Store
from plimsoll_operator.observed import Observed
from tests.unit.plimsoll_operator.conftest import start as start  # noqa: PLC0414 - a fixture
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.pods import REVISION, serving, unschedulable
from tests.unit.plimsoll_operator.process import NODE as NODE_OF_PROCESS
from tests.unit.plimsoll_operator.process import Start, condition, fresh
from tests.unit.plimsoll_operator.samples import resource

OFFERED = {"cpu": "16", "memory": "64Gi", "pods": "110"}


def other(name: str, node: str, cpu: str, phase: str = "Running") -> dict[str, Any]:
    """A pod of somebody else."""
    engine = {"name": "x", "resources": {"requests": {"cpu": cpu}}}
    return {
        "metadata": {"namespace": "other", "name": name},
        "spec": {"nodeName": node, "containers": [engine]},
        "status": {"phase": phase},
    }


def wanting(cpu: str) -> dict[str, Any]:
    engine = {"name": "engine", "resources": {"requests": {"cpu": cpu}}}
    return {"spec": {"template": {"spec": {"containers": [engine]}}}}


def waiting(cpu: str = "2", pod: dict[str, Any] | None = None) -> Observed:
    return Observed({("Deployment", "chat"): wanting(cpu)}, (pod or unschedulable(),))


class Counting(MemoryCluster):
    """Counts what is listed, and may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.away = False

    async def list(self, kind: Kind, *rest: Any) -> tuple[list[dict[str, Any]], str]:
        self.asked.append(kind.fields)
        if self.away:
            raise ClusterError(503, "ServiceUnavailable", "busy")
        return await super().list(kind, *rest)


def roomy(name: str, cpu: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": f"uid of {name}", "resourceVersion": "1"},
        "status": {"allocatable": {"cpu": cpu, "pods": "110"}},
    }


def with_nodes(count: int) -> tuple[Counting, Store]:
    cluster, store = Counting(), Store()
    for number in range(count):
        store.put(NODE.name, roomy(f"n{number:02}", "4"))
    return cluster, store


async def test_what_everybody_takes_of_the_nearest_node_is_told() -> None:
    cluster, store = with_nodes(2)
    cluster.put("Pod", other("a", "n00", "3500m"))
    cluster.put("Pod", other("b", "n01", "2500m"))
    cluster.put("Pod", other("done", "n01", "3", "Succeeded"))
    reader = RoomReader(store, cluster)  # type: ignore[arg-type]
    assert await reader.shortage(resource(), waiting(), REVISION) == (
        "node n01 comes nearest, and is short of 0.5 cpu (asked 2, free 1.5 of 4)"
    )


async def test_only_who_waits_for_room_has_it_read() -> None:
    cluster, store = with_nodes(1)
    reader = RoomReader(store, cluster)  # type: ignore[arg-type]
    for observed, revision in (
        (waiting(pod=serving()), REVISION),
        (waiting(), "another"),
        (waiting(pod=unschedulable(message='persistentvolumeclaim "x" not found')), REVISION),
        (Observed({}, (unschedulable(),)), REVISION),
    ):
        assert await reader.shortage(resource(), observed, revision) == ""
    assert cluster.asked == []


async def test_few_nodes_are_read_once_a_minute_for_all() -> None:
    cluster, store = with_nodes(3 * MOST_READS)
    now = 0.0
    reader = RoomReader(store, cluster, lambda: now)  # type: ignore[arg-type]
    for _ in range(5):
        await reader.shortage(resource(), waiting(), REVISION)
    assert len(cluster.asked) == len(set(cluster.asked)) == MOST_NODES
    for number in range(3 * MOST_READS):  # pods of as many kinds, each nearest elsewhere
        store.put(NODE.name, roomy(f"a{99 - number}", "64"))
        await reader.shortage(resource(), waiting("30"), REVISION)
    assert len(cluster.asked) == MOST_READS
    now = FRESH_SECONDS
    await reader.shortage(resource(), waiting(), REVISION)
    assert len(cluster.asked) == MOST_READS + MOST_NODES


async def test_of_many_nodes_it_is_said_how_many_were_looked_at() -> None:
    cluster, store = with_nodes(MOST_NODES + 1)
    for number in range(MOST_NODES + 1):
        cluster.put("Pod", other(f"p{number}", f"n{number:02}", "3"))
    reader = RoomReader(store, cluster)  # type: ignore[arg-type]
    assert await reader.shortage(resource(), waiting(), REVISION) == (
        "of 8 of 9 nodes n00 comes nearest, and is short of 1 cpu (asked 2, free 1 of 4)"
    )


async def test_an_api_server_that_does_not_answer_leaves_what_nodes_can_never_offer() -> None:
    cluster, store = with_nodes(1)
    cluster.away = True
    reader = RoomReader(store, cluster)  # type: ignore[arg-type]
    assert await reader.shortage(resource(), waiting(), REVISION) == ""
    assert "short of at least 2 cpu" in await reader.shortage(resource(), waiting("6"), REVISION)
    assert len(cluster.asked) == 1


async def test_the_status_says_it(start: Start) -> None:
    cluster = fresh()
    roomy_one: dict[str, Any] = copy.deepcopy(NODE_OF_PROCESS)
    roomy_one["status"]["allocatable"] = OFFERED
    cluster.put("Node", roomy_one)
    process = start(cluster)
    await process.settle()
    plan = cluster.objects["LLMDeployment", "ml", "chat"]["status"]["plan"]
    waits = unschedulable()
    waits["metadata"]["labels"]["plimsoll.dev/plan"] = plan["revision"]
    cluster.put("Pod", waits)
    cluster.put("Pod", other("greedy", "node", "15750m"))
    deployment = cluster.objects["Deployment", "ml", "chat"]
    seen = {"observedGeneration": deployment["metadata"]["generation"], "updatedReplicas": 1}
    cluster.put("Deployment", {**deployment, "status": {**seen, "replicas": 1}})
    await process.sync()
    await process.controller.reconcile(("ml", "chat"))
    assert condition(cluster, "Ready")["message"].endswith(
        "; node node comes nearest, and is short of 0.25 cpu (asked 0.5, free 0.25 of 16)"
    )

"""A plan whose pods run out of memory is made anew with more of it, through the whole loop."""

from typing import Any

from plimsoll_operator.api.quantity import parse_quantity
from plimsoll_operator.kube.kinds import RESOURCE, REVISION
from plimsoll_operator.render.labels import pod_labels
from plimsoll_operator.revisions.record import request_of
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.process import Start, edit, fresh


def status(cluster: MemoryCluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.objects[RESOURCE.name, "ml", "chat"]["status"]
    return found


def put_killed(cluster: MemoryCluster, name: str) -> None:
    killed = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    container = {"name": "engine", "ready": False, "state": killed, "restartCount": 1}
    labels = pod_labels("chat", status(cluster)["plan"]["revision"])
    metadata = {"namespace": "ml", "name": name, "labels": labels}
    cluster.put("Pod", {"metadata": metadata, "status": {"containerStatuses": [container]}})


def limit(cluster: MemoryCluster) -> int:
    pod = cluster.objects["Deployment", "ml", "chat"]["spec"]["template"]["spec"]
    return int(parse_quantity(pod["containers"][0]["resources"]["limits"]["memory"]))


async def test_a_plan_that_ran_out_gives_way_to_one_with_more(start: Start) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.settle()
    first, least = status(cluster), limit(cluster)
    put_killed(cluster, "chat-1")
    await process.settle()
    second = status(cluster)
    assert second["memoryReserve"]["plan"] == first["plan"]["revision"]
    assert second["memoryReserve"]["memory"] == "512Mi"
    assert limit(cluster) - least == 512 * 2**20
    assert second["planInputs"] != first["planInputs"]
    kept = cluster.objects[REVISION.name, "ml", second["currentRevision"]]["data"]["inputs"]
    assert request_of(kept).reserves == (("cpu", 512 * 2**20),)
    assert [each["reason"] for each in cluster.events].count("MemoryReserved") == 1
    # The pod of the first plan says nothing of the second; one of the second does.
    put_killed(cluster, "chat-2")
    await process.settle()
    assert status(cluster)["memoryReserve"]["memory"] == "1Gi"
    assert limit(cluster) - least == 2**30
    # It is kept for later plans of this model, also by a process that remembers nothing.
    edit(cluster, workload={"requestsPerSecond": "2"})
    await start(cluster).settle()
    assert limit(cluster) - least >= 2**30


async def test_where_no_more_fits_the_plan_stays(start: Start) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.settle()
    before = status(cluster)
    node = cluster.objects["Node", "", "node"]
    allocatable = {"cpu": "16", "memory": "1Gi"}
    cluster.put("Node", {**node, "status": {**node["status"], "allocatable": allocatable}})
    put_killed(cluster, "chat-1")
    await process.settle()
    after = status(cluster)
    assert after["plan"] == before["plan"]
    assert after["memoryReserve"]["raises"] == 1
    assert after["currentRevision"] == before["currentRevision"]

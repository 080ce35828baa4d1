"""What pods measure reaches the status through the whole loop, and no more often than it should."""

import asyncio

from plimsoll_operator.kube.kinds import RESOURCE
from plimsoll_operator.render.labels import pod_labels
from plimsoll_operator.scaling.autoscale import Sample
from plimsoll_operator.scaling.measurement import Counters
from tests.unit.plimsoll_operator.counted import counted
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.process import KEY, Process, Start, condition, edit, fresh


def put_pod(cluster: MemoryCluster, name: str) -> None:
    plan = cluster.objects[RESOURCE.name, "ml", "chat"]["status"]["plan"]["revision"]
    metadata = {"namespace": "ml", "name": name, "labels": pod_labels("chat", plan)}
    cluster.put("Pod", {"metadata": metadata, "status": {}})


async def measure(process: Process, name: str, ago: float, counters: Counters) -> None:
    """The newest sample of the pod, and a look at it."""
    at = asyncio.get_running_loop().time() - ago
    scraper = process.controller._scraper
    scraper._samples[KEY] = (Sample(name, at, counters=counters),)
    await process.settle()


async def test_long_prompts_are_told_once_and_replan_nothing(start: Start) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.settle()
    put_pod(cluster, "chat-1")
    await measure(process, "chat-1", 300, counted(1000, prompt=10, output=10))
    conditions = cluster.objects[RESOURCE.name, "ml", "chat"]["status"]["conditions"]
    assert "PlanDrifted" not in {item["type"] for item in conditions}
    plan = cluster.objects[RESOURCE.name, "ml", "chat"]["status"]["plan"]
    await measure(process, "chat-1", 0, counted(1200, prompt=400, output=107))
    drifted = condition(cluster, "PlanDrifted")
    assert (drifted["status"], drifted["reason"]) == ("True", "TrafficDiffers")
    assert "workload.promptTokens.mean: 2350" in drifted["message"]
    status = cluster.objects[RESOURCE.name, "ml", "chat"]["status"]
    assert status["observed"]["promptTokens"] == 2350
    assert status["plan"] == plan
    assert condition(cluster, "Ready")["status"] == "True"
    assert [event["reason"] for event in cluster.events].count("TrafficDiffers") == 1
    # Within a minute nothing more is written, whatever comes.
    writes = len(cluster.writes)
    await measure(process, "chat-1", -1, counted(9000, prompt=400, output=107))
    assert len(cluster.writes) == writes


async def test_a_pod_by_another_plan_says_nothing_of_this_one(start: Start) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.settle()
    put_pod(cluster, "chat-1")
    await measure(process, "chat-1", 300, counted(1000, prompt=10, output=10))
    edit(cluster, pin={"maxNumSeqs": 1024})
    await process.settle()
    await measure(process, "chat-1", 200, counted(1100, prompt=400, output=107))
    await measure(process, "chat-1", 0, counted(1900, prompt=400, output=107))
    conditions = cluster.objects[RESOURCE.name, "ml", "chat"]["status"]["conditions"]
    assert "PlanDrifted" not in {item["type"] for item in conditions}

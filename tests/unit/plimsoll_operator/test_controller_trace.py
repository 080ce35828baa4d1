"""A trace in a ConfigMap, from its absence to its edits: the last good plan keeps serving."""

import json
from typing import Any

import pytest

from plimsoll_operator.kube.kinds import CONFIG_MAP, RESOURCE
from plimsoll_operator.plan_service import trace_reader
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.process import EASY, KEY, Process, Start, condition, edit, fresh

SPEC = {**EASY, "workload": {"trace": {"configMapKeyRef": {"name": "traffic"}}}}


def lines(prompt: int = 100, rate: int = 2) -> str:
    return "\n".join(
        json.dumps({"t": i / rate, "prompt_tokens": prompt, "output_tokens": 10})
        for i in range(100)
    )


def put(cluster: MemoryCluster, text: str) -> None:
    metadata = {"namespace": "ml", "name": "traffic"}
    cluster.put(CONFIG_MAP.name, {"metadata": metadata, "data": {"trace.jsonl": text}})


def status(cluster: MemoryCluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.objects[RESOURCE.name, "ml", "chat"]["status"]
    return found


@pytest.fixture(autouse=True)
def asked_at_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_reader, "ASK_SECONDS", 0.0)


async def served(start: Start) -> tuple[MemoryCluster, Process]:
    cluster = fresh(SPEC)
    put(cluster, lines())
    process = start(cluster)
    await process.settle()
    return cluster, process


async def test_until_it_is_there_nothing_is_planned(start: Start) -> None:
    cluster = fresh(SPEC)
    process = start(cluster)
    await process.settle()
    assert condition(cluster, "Stalled")["reason"] == "TraceNotFound"
    told = condition(cluster, "TraceResolved")
    assert (told["status"], told["reason"]) == ("False", "TraceNotFound")
    assert "there is no ConfigMap traffic in namespace ml" in told["message"]
    assert ("Deployment", "ml", "chat") not in cluster.objects
    put(cluster, lines())
    await process.settle()
    assert condition(cluster, "Ready")["status"] == "True"
    told = condition(cluster, "TraceResolved")
    assert (told["status"], told["message"]) == (
        "True",
        "100 requests of 50 s, planned at 2 requests/s",
    )


async def test_an_edit_of_it_plans_anew_and_nothing_else_does(start: Start) -> None:
    cluster, process = await served(start)
    before = status(cluster)
    assert before["plan"]["trace"]["promptTokens"] == 100
    put(cluster, lines().replace(", ", ",  "))  # the same requests
    writes = len(cluster.writes)
    await process.settle()
    assert len(cluster.writes) == writes
    put(cluster, lines(prompt=300))
    await process.settle()
    after = status(cluster)
    assert after["plan"]["trace"]["promptTokens"] == 300
    assert after["planInputs"] != before["planInputs"]
    assert after["currentRevision"] != before["currentRevision"]
    # Back again, and by a process that remembers nothing: the first revision, byte for byte.
    put(cluster, lines())
    await start(cluster).settle()
    again = status(cluster)
    assert (again["plan"], again["currentRevision"]) == (before["plan"], before["currentRevision"])


@pytest.mark.parametrize(
    ("text", "reason"), [(None, "TraceNotFound"), ("{", "TraceMalformed"), (lines()[:900], "")]
)
@pytest.mark.parametrize("again", [False, True])
async def test_what_breaks_later_leaves_the_plan(
    start: Start, text: str | None, reason: str, *, again: bool
) -> None:
    cluster, process = await served(start)
    before, plan = cluster.rendered(), status(cluster)["plan"]
    if text is None:
        del cluster.objects[CONFIG_MAP.name, "ml", "traffic"]
    else:
        put(cluster, text)
    process = start(cluster) if again else process
    await process.settle()
    assert condition(cluster, "Ready")["status"] == "True"
    told = condition(cluster, "TraceResolved")
    assert (told["status"], told["reason"]) == ("False", reason or "TraceMalformed")
    assert told["message"].endswith("The plan that was made for it before stays")
    assert status(cluster)["plan"] == plan
    # It is mended and kept up as ever.
    cluster.objects.pop(("Service", "ml", "chat"))
    process.store.remove("Service", process.store.get("Service", "ml", "chat") or {})
    await process.settle()
    after = {key: item for key, item in cluster.rendered().items() if key[0] != CONFIG_MAP.name}
    assert after == {key: item for key, item in before.items() if key[0] != CONFIG_MAP.name}


async def test_without_the_trace_the_condition_goes(start: Start) -> None:
    cluster, process = await served(start)
    edit(cluster, workload={"requestsPerSecond": "2"})
    await process.settle()
    assert "TraceResolved" not in {each["type"] for each in status(cluster)["conditions"]}
    assert "trace" not in status(cluster)["plan"]


async def test_an_idle_look_asks_for_the_version_alone(start: Start) -> None:
    _, process = await served(start)
    asked: list[str] = []

    async def content(*_: object) -> None:
        asked.append("content")

    process.controller._planner._traces._content = content
    await process.settle()
    assert asked == []
    assert await process.controller.reconcile(KEY) is False

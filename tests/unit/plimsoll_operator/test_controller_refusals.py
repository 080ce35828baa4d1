"""A child that the API server refuses is said once, tried again seldom, and costs no writes."""

import contextlib
from dataclasses import dataclass
from typing import Any

import pytest

from plimsoll_operator import actuator
from plimsoll_operator.kube.api_server import ClusterError
from plimsoll_operator.status.conditions import MAX_MESSAGE
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.process import EASY, KEY, Start, condition, edit, fresh

QUOTA = 'deployments.apps "chat" is forbidden: exceeded quota: none, limited: count=0'
LASTING = {
    "ResourceQuota": (403, "Forbidden", QUOTA),
    "policy": (403, "Forbidden", 'admission webhook "policy.example" denied the request: no'),
    "webhook's own code": (400, "BadRequest", 'admission webhook "x" denied the request: no'),
    "RBAC": (403, "Forbidden", 'User "operator" cannot patch resource "deployments"'),
    "invalid": (422, "Invalid", "spec.template.spec.containers[0].resources: Invalid value"),
}


@dataclass
class Clock:
    now: float = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(actuator, "monotonic", lambda: clock.now)
    return clock


@dataclass
class Gate:
    """Refuses writes of some kinds, and counts those that it saw."""

    kinds: tuple[str, ...]
    answer: tuple[int, str, str] = (403, "Forbidden", QUOTA)
    tries: int = 0

    def __call__(self, verb: str, kind: str, name: str) -> None:
        if kind in self.kinds:
            self.tries += 1
            raise ClusterError(*self.answer)


def reasons(cluster: MemoryCluster) -> list[str]:
    return [event["reason"] for event in cluster.events]


@pytest.mark.parametrize("answer", LASTING.values(), ids=LASTING)
async def test_a_refusal_is_in_the_status(
    start: Start, clock: Clock, answer: tuple[int, str, str]
) -> None:
    cluster = fresh()
    cluster.admit = Gate(("Deployment",), answer)
    process = start(cluster)
    await process.settle()
    ready, stalled = condition(cluster, "Ready"), condition(cluster, "Stalled")
    assert (ready["status"], ready["reason"]) == ("False", "ChildRefused")
    assert (stalled["status"], stalled["reason"]) == ("True", "ChildRefused")
    assert condition(cluster, "Reconciling")["status"] == "False"
    for part in ("Deployment chat", f"{answer[0]} {answer[1]}", answer[2], "tried again"):
        assert part in ready["message"]
    assert len(ready["message"]) <= MAX_MESSAGE
    # Everything else stands, ready for the Deployment.
    assert len(cluster.rendered()) == 6


async def test_a_long_answer_is_shortened(start: Start, clock: Clock) -> None:
    cluster = fresh()
    cluster.admit = Gate(("Deployment", "Service"), (403, "Forbidden", "no " * 5000))
    await start(cluster).settle()
    message = condition(cluster, "Ready")["message"]
    assert len(message) <= MAX_MESSAGE
    for child in ("Deployment chat", "Service chat:", "Service chat-metrics"):
        assert child in message
    assert "tried again" in message


async def test_the_same_refusal_writes_nothing_and_is_told_once(start: Start, clock: Clock) -> None:
    cluster = fresh()
    gate = Gate(("Deployment",))
    cluster.admit = gate
    process = start(cluster)
    await process.settle()
    writes, tries = len(cluster.writes), gate.tries
    for _ in range(20):
        clock.now += 61
        await process.sync()
        assert not await process.controller.reconcile(KEY)
    assert gate.tries == tries + 20
    assert len(cluster.writes) == writes
    assert reasons(cluster).count("ChildRefused") == 1
    # Nor does another process say it again.
    other = start(cluster)
    await other.sync()
    await other.controller.reconcile(KEY)
    assert len(cluster.writes) == writes


async def test_it_is_tried_again_later_each_time(start: Start, clock: Clock) -> None:
    cluster = fresh()
    gate = Gate(("Deployment",))
    cluster.admit = gate
    process = start(cluster)
    began, tried = clock.now, []
    for _ in range(200):
        before = gate.tries
        await process.sync()
        await process.controller.reconcile(KEY)
        if gate.tries > before:
            tried.append(clock.now - began)
        clock.now += 1
    assert tried == [0, 1, 3, 7, 15, 31, 63, 123, 183]


async def test_an_edit_is_tried_at_once(start: Start, clock: Clock) -> None:
    cluster = fresh()
    gate = Gate(("Deployment",))
    cluster.admit = gate
    process = start(cluster)
    for _ in range(6):
        await process.settle()
        clock.now += 61
    await process.settle()
    tries = gate.tries
    await process.settle()
    assert gate.tries == tries
    edit(cluster, pin={"maxNumSeqs": 4})
    await process.settle()
    assert gate.tries > tries


async def test_ready_once_it_is_let(start: Start, clock: Clock) -> None:
    cluster = fresh()
    cluster.admit = Gate(("Deployment",))
    process = start(cluster)
    await process.settle()
    cluster.admit = lambda *_: None
    clock.now += 61
    await process.settle()
    for kind, status in (("Ready", "True"), ("Stalled", "False"), ("Reconciling", "False")):
        assert condition(cluster, kind)["status"] == status
    assert reasons(cluster) == ["Planned", "ChildRefused", "RolledOut"]


async def test_the_plan_in_force_stays_while_the_next_is_refused(
    start: Start, clock: Clock
) -> None:
    cluster = fresh()
    process = start(cluster)
    await process.settle()
    plan = cluster.objects["LLMDeployment", "ml", "chat"]["status"]["plan"]
    cluster.admit = Gate(("Deployment",))
    edit(cluster, pin={"maxNumSeqs": 1024})
    await process.settle()
    status = cluster.objects["LLMDeployment", "ml", "chat"]["status"]
    assert status["plan"] == plan
    assert f"earlier plan {plan['summary']} keeps serving" in condition(cluster, "Ready")["message"]
    assert condition(cluster, "AutoscalingActive")["reason"] == "ChildRefused"
    # One event says it, not two.
    assert reasons(cluster) == ["Planned", "RolledOut", "ChildRefused"]
    cluster.admit = lambda *_: None
    clock.now += 61
    await process.settle()
    status = cluster.objects["LLMDeployment", "ml", "chat"]["status"]
    assert status["plan"]["maxNumSeqs"] == 1024
    assert condition(cluster, "Ready")["status"] == "True"


async def test_a_webhook_that_does_not_answer_is_said_and_is_no_stall(
    start: Start, clock: Clock
) -> None:
    cluster = fresh()
    answer = (500, "InternalError", 'failed calling webhook "x": connection refused')
    cluster.admit = Gate(("Deployment",), answer)
    process = start(cluster)
    for _ in range(3):
        await process.sync()
        with pytest.raises(ClusterError, match="failed calling webhook"):
            await process.controller.reconcile(KEY)
        cluster.roll_out()
    ready = condition(cluster, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Applying")
    assert answer[2] in ready["message"]
    assert condition(cluster, "Reconciling")["status"] == "True"
    assert condition(cluster, "Stalled")["status"] == "False"
    assert "ChildRefused" not in reasons(cluster)


async def test_a_server_that_is_busy_does_not_hide_the_refusal(start: Start, clock: Clock) -> None:
    cluster = fresh()
    gate = Gate(("Deployment",))
    cluster.admit = gate
    process = start(cluster)
    await process.settle()
    writes = len(cluster.writes)
    for answer in ((503, "ServiceUnavailable", "busy"), (403, "Forbidden", QUOTA)) * 3:
        gate.answer = answer
        clock.now += 61
        await process.sync()
        with contextlib.suppress(ClusterError):
            await process.controller.reconcile(KEY)
    assert len(cluster.writes) == writes


async def test_a_replica_on_top_that_is_refused_leaves_ready_alone(
    start: Start, clock: Clock
) -> None:
    scaling: dict[str, Any] = {"minReplicas": 1, "maxReplicas": 4, "mode": "External"}
    spec = {**EASY, "scaling": scaling}
    cluster = fresh(spec)
    process = start(cluster)
    await process.settle()
    assert condition(cluster, "Ready")["status"] == "True"
    cluster.admit = Gate(("Deployment",), (403, "Forbidden", "no more than 1 replica here"))
    edit(cluster, replicas=3)
    await process.settle()
    assert condition(cluster, "Ready")["status"] == "True"
    assert "no more than 1 replica here" in condition(cluster, "Ready")["message"]
    active = condition(cluster, "AutoscalingActive")
    assert (active["status"], active["reason"]) == ("False", "ChildRefused")
    assert "held at 1" in active["message"]
    assert reasons(cluster)[-1] == "ScalingHeld"
    # A replica that must be there is another matter.
    edit(cluster, scaling={**scaling, "minReplicas": 2})
    await process.settle()
    assert condition(cluster, "Ready")["reason"] == "ChildRefused"

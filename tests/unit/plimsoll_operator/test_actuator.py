"""An event that was posted lately is not posted again."""

import pytest

from plimsoll_operator import actuator
from plimsoll_operator.actuator import TOLD_SECONDS, Actuator
from plimsoll_operator.kube.api_server import ClusterError
from plimsoll_operator.kube.store import Store
from plimsoll_operator.status.events import Event
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.samples import UID, raw_resource

SERVES = Event("Normal", "RolledOut", "RollOut", "serving by plan cpu×1")
STARTS = Event("Warning", "CrashLoopBackOff", "RollOut", "0 of 1 replicas serve")


class Clock:
    now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(actuator, "monotonic", lambda: clock.now)
    return clock


async def test_what_comes_and_goes_is_told_once_in_a_while(clock: Clock) -> None:
    cluster, raw = MemoryCluster(), raw_resource()
    teller = Actuator(cluster, Store(), "test")  # type: ignore[arg-type]
    for _ in range(20):  # readiness that flaps, for ten minutes
        await teller.tell(raw, SERVES)
        await teller.tell(raw, STARTS)
        clock.now += TOLD_SECONDS / 20
    assert [event["reason"] for event in cluster.events] == ["RolledOut", "CrashLoopBackOff"]
    await teller.tell(raw, SERVES)
    assert len(cluster.events) == 3


async def test_another_generation_resource_or_message_is_news(clock: Clock) -> None:
    cluster = MemoryCluster()
    teller = Actuator(cluster, Store(), "test")  # type: ignore[arg-type]
    for metadata in ({}, {"generation": 2}, {"name": "other", "uid": "another"}):
        await teller.tell(raw_resource(metadata=metadata), SERVES)
    await teller.tell(raw_resource(), Event("Normal", "RolledOut", "RollOut", "by another plan"))
    assert len(cluster.events) == 4
    teller.forget(UID)  # and made again
    await teller.tell(raw_resource(), SERVES)
    assert len(cluster.events) == 5


async def test_an_event_that_was_lost_is_not_told(clock: Clock) -> None:
    cluster = MemoryCluster()

    def refuse(_: int) -> None:
        raise ClusterError(503, "ServiceUnavailable", "busy")

    cluster.before_write = refuse
    teller = Actuator(cluster, Store(), "test")  # type: ignore[arg-type]
    await teller.tell(raw_resource(), SERVES)
    assert cluster.events == []
    cluster.before_write = lambda _: None
    await teller.tell(raw_resource(), SERVES)
    assert len(cluster.events) == 1

"""Replicas come after their start, go least worth first, and are paid for as long as they exist."""

import pytest

from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.coarse import CoarseReplica
from plimsoll_planner.simulation.elastic import ElasticFleet
from tests.unit.plimsoll_planner.simulation.test_coarse_replica import model

START = 5.0


def fleet(initial: int) -> ElasticFleet:
    return ElasticFleet(lambda at: CoarseReplica(model(), at), lambda _: START, initial)


def send(to: ElasticFleet, count: int, at: float, output: int = 2000) -> None:
    for number in range(count):
        to.advance(at)
        to.receive(int(at * 1000) + number, Arrival(at, 10, output))


def loads(of: ElasticFleet) -> list[int]:
    return [pod.server.num_requests for pod in of.pods]


def test_requests_go_to_the_ready_replica_with_the_fewest() -> None:
    found = fleet(3)
    send(found, 7, 1.0)
    assert sorted(loads(found)) == [2, 2, 3]
    found.scale(4, 1.0)
    send(found, 2, 2.0)
    assert loads(found)[3] == 0
    send(found, 3, 1.0 + START)
    assert loads(found)[3] == 3


def test_the_newest_that_starts_goes_first_then_the_one_with_the_fewest_requests() -> None:
    found = fleet(2)
    send(found, 3, 1.0)
    found.scale(3, 2.0)
    found.scale(4, 3.0)
    found.scale(3, 4.0)
    assert [pod.number for pod in found.wanted] == [0, 1, 2]
    found.scale(1, 5.0)
    assert [pod.number for pod in found.wanted] == [0]
    assert [pod.number for pod in found.pods] == [0, 1], "1 drains"


def test_what_drains_gets_nothing_new_and_serves_what_it_has() -> None:
    found = fleet(2)
    send(found, 2, 1.0)
    found.scale(1, 2.0)
    send(found, 4, 3.0, output=1)
    assert sum(pod.received for pod in found.pods) == 6
    assert [pod.received for pod in found.pods if pod.deleted < 1e9] == [1]
    ended = found.advance(1e6)
    assert len(ended) == 6
    (gone,) = found.past
    assert gone.gone == pytest.approx(max(s.arrival.at + s.e2e for pod, s in ended if pod is gone))


def test_replicas_are_paid_from_being_asked_for_to_being_gone() -> None:
    found = fleet(2)
    found.scale(3, 10.0)
    found.scale(2, 40.0)
    found.scale(1, 60.0)
    found.advance(70.0)
    assert found.replica_seconds(100.0) == pytest.approx(100 + 60 + 30)


def test_requests_wait_where_nothing_is_ready() -> None:
    found = ElasticFleet(lambda at: CoarseReplica(model(), at), lambda _: START, 0)
    found.scale(1, 0.0)
    send(found, 3, 1.0, output=1)
    assert found.advance(START) == []
    send(found, 1, START + 1, output=1)
    assert len(found.advance(1e6)) == 4

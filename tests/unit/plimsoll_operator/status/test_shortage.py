"""Which resource the nearest node is short of, and by how much, as the scheduler counts."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.status.shortage import (
    Room,
    asked_by,
    describe,
    nearest_first,
    rooms,
    taken_by,
)

GPU = "nvidia.com/gpu"


def container(restart: str = "", **requests: str) -> dict[str, Any]:
    more = {"restartPolicy": restart} if restart else {}
    return {"resources": {"requests": requests}, **more}


def node(name: str, allocatable: dict[str, str], **spec: Any) -> dict[str, Any]:
    labels = spec.pop("labels", {})
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"allocatable": allocatable},
    }


def amounts(**given: str | int) -> dict[str, Decimal]:
    return {name.replace("gpu", GPU): Decimal(amount) for name, amount in given.items()}


def test_containers_and_sidecars_add_up_and_the_largest_init_container_counts() -> None:
    spec: dict[str, Any] = {
        "initContainers": [
            container(cpu="3", memory="1Gi"),
            container("Always", cpu="500m"),
            container(cpu="1"),
        ],
        "containers": [container(cpu="1", memory="2Gi"), container(cpu="250m")],
        "overhead": {"memory": "64Mi"},
    }
    assert asked_by(spec) == amounts(cpu="3", memory=2112 * 2**20, pods=1)
    # One that comes after a sidecar runs beside it.
    assert asked_by({**spec, "initContainers": spec["initContainers"][1:]})["cpu"] == Decimal(
        "1.75"
    )


def test_a_limit_without_a_request_is_one_and_the_pods_own_go_first() -> None:
    limited = {"resources": {"limits": {"cpu": "2", GPU: "1"}, "requests": {"cpu": "1"}}}
    assert asked_by({"containers": [limited]}) == amounts(cpu=1, gpu=1, pods=1)
    whole = {"containers": [limited], "resources": {"requests": {"cpu": "3"}}}
    assert asked_by(whole)["cpu"] == 3


@pytest.mark.parametrize(("text", "cores"), [("1e1", 10), ("100u", 0), ("NaN", 0), ("", 0)])
def test_quantities_of_others_are_read_as_far_as_they_go(text: str, cores: int) -> None:
    assert asked_by({"containers": [container(cpu=text)]})["cpu"] == cores


def test_what_pods_take_together() -> None:
    pods = [{"containers": [container(cpu="100m")]}, {"containers": [container()]}, {}]
    assert taken_by(pods) == amounts(cpu="0.1", pods=3)


def test_only_nodes_that_take_such_pods_count() -> None:
    tainted = [{"key": GPU, "effect": "NoSchedule", "value": "x"}]
    nodes = [
        node("a", {"cpu": "4"}),
        node("b", {"cpu": "4"}, labels={"pool": "llm"}),
        node("c", {"cpu": "4"}, labels={"pool": "llm"}, unschedulable=True),
        node("d", {"cpu": "4"}, labels={"pool": "llm"}, taints=tainted),
        node("e", {"cpu": "4"}, taints=[{"key": "z", "effect": "PreferNoSchedule"}]),
    ]
    spec: dict[str, Any] = {"nodeSelector": {"pool": "llm"}}
    assert [room.node for room in rooms(spec, nodes)] == ["b"]
    spec["tolerations"] = [{"key": GPU, "operator": "Exists"}]
    assert [room.node for room in rooms(spec, nodes)] == ["b", "d"]
    assert [room.node for room in rooms({}, nodes)] == ["a", "b", "e"]


def test_the_nearest_node_is_told_with_all_that_it_lacks() -> None:
    asked = amounts(cpu=2, memory=6 * 2**30, gpu=4, pods=1)
    offered = amounts(cpu=8, memory=16 * 2**30, gpu=8, pods=110)
    found = [
        Room("far", offered, amounts(gpu=8)),
        Room("near", offered, amounts(cpu="6.75", gpu=6, memory=2**30, pods=9)),
        Room("small", amounts(cpu=2, memory=8 * 2**30), amounts()),
    ]
    assert describe(asked, found) == (
        "node near comes nearest, and is short of 0.75 cpu (asked 2, free 1.25 of 8) and "
        "2 nvidia.com/gpu (asked 4, free 2 of 8)"
    )
    assert describe(amounts(memory=2**34), [Room("a", offered, amounts(memory=2**32))]) == (
        "node a comes nearest, and is short of 4.0Gi memory (asked 16.0Gi, free 12.0Gi of 16.0Gi)"
    )


def test_what_nobody_knows_is_not_told() -> None:
    offered = amounts(cpu=4)
    assert describe(amounts(cpu=2), []) == ""
    assert describe(amounts(cpu=2), [Room("a", offered)]) == ""
    assert describe(amounts(cpu=2), [Room("a", offered, amounts(cpu=1))]) == ""
    assert describe(amounts(cpu=6), [Room("a", offered)]) == (
        "node a comes nearest, and is short of at least 2 cpu (asked 6, free 4 of 4)"
    )


few = st.integers(0, 9).map(Decimal)
anything = st.fixed_dictionaries({"cpu": few, GPU: few, "memory": few})
somewhere = st.lists(
    st.builds(Room, st.text("ab", min_size=1, max_size=3), anything, st.none() | anything)
)


@given(anything, somewhere)
def test_what_is_short_and_what_is_free_is_what_was_asked(
    asked: dict[str, Decimal], found: list[Room]
) -> None:
    for room in found:
        lack = room.lack(asked)
        assert all(lack[name] + room.free(name) == asked[name] for name in lack)
        assert all(asked[name] <= room.free(name) for name in asked if name not in lack)
    shares = [
        sum(amount / asked[name] for name, amount in room.lack(asked).items())
        for room in nearest_first(asked, found)
    ]
    assert shares == sorted(shares)
    full = all(room.lack(asked) for room in found)
    assert bool(describe(asked, found)) == (bool(found) and full) or not full

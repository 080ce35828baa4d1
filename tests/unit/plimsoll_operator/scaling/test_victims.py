"""Who goes, and when: each step alone, and many of them beside a ReplicaSet and its engines."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.scaling.victims import (
    DRAIN_SECONDS,
    MOST_AT_ONCE,
    DrainReport,
    Replica,
    Step,
    next_step,
)

LOOK_SECONDS = 2.0


def serving(name: str, unfinished: int = 0, cache: float = 0.0, created: str = "") -> Replica:
    return Replica(name, True, created, DrainReport(None, unfinished, cache))


def draining(name: str, unfinished: int = 0, seconds: float = 5.0, ready: bool = False) -> Replica:
    return Replica(name, ready, "", DrainReport(seconds, unfinished, 0.0))


def test_least_work_goes_first() -> None:
    three = [serving("a", 9), serving("b", 2), serving("c", 4)]
    assert next_step(three, 3, 2) == Step(3, ("b",))
    assert next_step(three, 3, 1) == Step(3, ("b", "c"))
    assert next_step(three, 3, 3) == Step(3)


@pytest.mark.parametrize(
    ("first", "second", "goes"),
    [
        (serving("a", 1, 0.5), serving("b", 1, 0.4), "b"),
        (serving("a", created="2026-01-01T00:00:00Z"), serving("b", created="2026-01-02"), "b"),
        (serving("b"), serving("a"), "a"),
    ],
    ids=["less KV cache", "younger", "by name"],
)
def test_ties(first: Replica, second: Replica, goes: str) -> None:
    assert next_step([first, second], 2, 1).victims == (goes,)
    assert next_step([second, first], 2, 1).victims == (goes,)


def test_what_does_not_serve_goes_before_anybody_drains() -> None:
    assert next_step([serving("a"), serving("b"), Replica("new", ready=False)], 3, 2) == Step(2)
    three = [serving("a"), serving("b", 1), Replica("new", ready=False)]
    assert next_step(three, 3, 1) == Step(3, ("a",))


def test_goes_when_nothing_is_in_flight_and_the_replica_set_can_tell() -> None:
    other = serving("b")
    assert next_step([draining("a", 3), other], 2, 1) == Step(2, ("a",))
    assert next_step([draining("a", ready=True), other], 2, 1) == Step(2, ("a",))
    assert next_step([draining("a"), other], 2, 1) == Step(1, ("a",))
    late = draining("a", 3, seconds=DRAIN_SECONDS, ready=True)
    assert next_step([late, other], 2, 1) == Step(1, ("a",))


def test_who_drains_goes_on_though_another_is_idle_now() -> None:
    assert next_step([draining("a", 3), serving("b"), serving("c")], 3, 2).victims == ("a",)


def test_taken_back_when_load_is_back() -> None:
    two = [draining("a"), draining("b", 1), serving("c")]
    assert next_step(two, 3, 3) == Step(3, back=("a", "b"))
    assert next_step(two, 3, 2) == Step(2, ("a",), ("b",))
    assert next_step(two, 3, 5) == Step(5, back=("a", "b"))


def test_what_is_not_deleted_yet_drains_on_and_nobody_else() -> None:
    """The count has fallen to 2; the ReplicaSet has yet to see it."""
    assert next_step([draining("a", 1), serving("b"), serving("c")], 2, 2) == Step(2, ("a",))
    assert next_step([serving("a"), serving("b"), serving("c")], 2, 2) == Step(2)


def test_no_more_than_some_at_once() -> None:
    many = [serving(f"r{number:02}", number) for number in range(20)]
    step = next_step(many, 20, 1)
    assert step.victims == tuple(f"r{number:02}" for number in range(MOST_AT_ONCE))
    done = [draining(each.name) if each.name in step.victims else each for each in many]
    assert next_step(done, 20, 1).replicas == 20 - MOST_AT_ONCE


def test_engines_that_do_not_answer_go_as_they_are() -> None:
    silent = [Replica("a", ready=True), Replica("b", ready=True)]
    assert next_step(silent, 2, 1) == Step(1)
    assert next_step([*silent, serving("c", 50)], 3, 2) == Step(3, ("c",))
    assert next_step([*silent, draining("c")], 3, 1) == Step(1, ("c",))


@dataclass
class Pod:
    """An engine, and what the API server knows of it."""

    name: str
    unfinished: int
    answers: bool = True
    ready: bool = False
    drained: float | None = None
    unprobed: float = field(default=0.0)

    def seen(self) -> Replica:
        known = DrainReport(self.drained, self.unfinished, 0.0) if self.answers else None
        return Replica(self.name, self.ready, self.name, known)


@dataclass
class Cluster:
    """Pods under a ReplicaSet, which deletes those first that are not ready, then the newest."""

    pods: list[Pod]
    replicas: int
    made: int = 0
    gone: list[Pod] = field(default_factory=list)

    def look(self, wanted: int) -> Step:
        step = next_step([pod.seen() for pod in self.pods], self.replicas, wanted)
        for pod in self.pods:
            if pod.name in step.victims and pod.drained is None:
                pod.drained = 0.0
            if pod.name in step.back:
                pod.drained = None
        self.replicas = step.replicas
        return step

    def passes(self, seconds: float) -> None:
        """The ReplicaSet acts, requests end, probes tell who is ready."""
        surplus = len(self.pods) - self.replicas
        ordered = sorted(self.pods, key=lambda pod: (pod.ready, pod.name), reverse=False)
        for pod in ordered[: max(0, surplus)]:
            self.pods.remove(pod)
            self.gone.append(replace(pod))
        for _ in range(-surplus):
            self.made += 1
            self.pods.append(Pod(f"new{self.made:03}", 0))
        for pod in self.pods:
            out = pod.drained is not None
            if out:
                pod.drained = (pod.drained or 0.0) + seconds
                pod.unfinished = max(0, pod.unfinished - 1)
            pod.ready = not out


pods = st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=12).map(
    lambda drawn: [Pod(f"p{i:02}", n, answers, True) for i, (n, answers) in enumerate(drawn)]
)


@settings(max_examples=25, deadline=None)
@given(pods, st.lists(st.integers(1, 14), max_size=12), st.integers(1, 14))
def test_converges_whatever_was_wanted_before(
    start: list[Pod], earlier: list[int], wanted: int
) -> None:
    cluster = Cluster(start, len(start))
    for other in earlier:
        before = cluster.replicas
        step = cluster.look(other)
        assert min(before, other) <= step.replicas <= max(before, other)
        assert len(step.victims) <= MOST_AT_ONCE
        assert not set(step.victims) & set(step.back)
        # What should serve is never drained.
        drained = sum(pod.drained is not None for pod in cluster.pods)
        assert len(cluster.pods) - drained >= min(other, len(cluster.pods))
        cluster.passes(LOOK_SECONDS)
    rounds = 2 + len(cluster.pods) // MOST_AT_ONCE
    for _ in range(int(rounds * (DRAIN_SECONDS / LOOK_SECONDS + 3))):
        cluster.look(wanted)
        cluster.passes(LOOK_SECONDS)
    assert len(cluster.pods) == cluster.replicas == wanted
    # What stays serves, and nothing is to be done any more.
    assert [pod.name for pod in cluster.pods if not pod.ready or pod.drained is not None] == []
    assert cluster.look(wanted) == Step(wanted)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=2, max_size=8, unique=True), st.data())
def test_the_least_busy_go_and_nothing_of_theirs_is_cut(
    unfinished: list[int], data: st.DataObject
) -> None:
    start = [Pod(f"p{i}", count, ready=True) for i, count in enumerate(unfinished)]
    wanted = data.draw(st.integers(1, len(start) - 1))
    cluster = Cluster(start, len(start))
    while len(cluster.pods) > wanted:
        cluster.look(wanted)
        cluster.passes(LOOK_SECONDS)
    assert [pod.unfinished for pod in cluster.gone] == [0] * (len(unfinished) - wanted)
    assert sorted(pod.unfinished for pod in cluster.pods) == sorted(unfinished)[-wanted:]

"""Pods that run out of memory make the next plan keep more free, up to a bound, and say so."""

from dataclasses import replace
from typing import Any

import pytest

from plimsoll_operator.api.memory_reserve import MemoryReserve
from plimsoll_operator.api.quantity import parse_bytes
from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.observed import Observed
from plimsoll_operator.plans.choice import Hold, Standing
from plimsoll_operator.plans.memory_reserve import MOST_RAISES, ran_out, reserve_after, reserves_of
from plimsoll_operator.resource import Resource
from plimsoll_operator.status.events import events_between
from plimsoll_operator.status.inputs import Situation
from plimsoll_operator.status.pod_trouble import OUT_OF_MEMORY, out_of_memory, pod_trouble
from tests.unit.plimsoll_operator.pods import REVISION, pod
from tests.unit.plimsoll_operator.samples import cpu_plan, gpu_plan, resource

KILLED = {"reason": "OOMKilled", "exitCode": 137}
CUDA = {
    "reason": "Error",
    "exitCode": 1,
    "message": "Traceback\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
}
COUNTED = {
    "reason": "Error",
    "exitCode": 1,
    "message": "plimsoll serve: MemoryError: the KV cache takes 8.00 GiB, and 3.00 GiB are left",
}
CRASH = {"reason": "Error", "exitCode": 1, "message": "ValueError: no memory of that"}


def ended(how: dict[str, Any], container: str = "engine", *, ready: bool = False) -> dict[str, Any]:
    state = {"running": {}} if ready else {"waiting": {"reason": "CrashLoopBackOff"}}
    last = {"lastState": {"terminated": how}, "state": state}
    return pod(containerStatuses=[{"name": container, "ready": ready, **last}])


def situation(*pods: dict[str, Any], plan: PlanStatus | None = None, **more: Any) -> Situation:
    plan = plan or cpu_plan()
    standing = Standing(plan=plan, inputs="a", **more)
    return Situation(standing=standing, observed=Observed(pods=pods), started=plan.revision)


def knowing(reserve: MemoryReserve | None, **spec: Any) -> Resource:
    found = resource(spec=spec)
    return replace(found, status=found.status.model_copy(update={"memory_reserve": reserve}))


def learnt(before: Resource, seen: Situation) -> MemoryReserve:
    found = reserve_after(before, seen)
    assert found is not None
    return found


@pytest.mark.parametrize("how", [KILLED, CUDA, COUNTED])
@pytest.mark.parametrize("ready", [False, True])
def test_what_counts_as_out_of_memory(how: dict[str, Any], *, ready: bool) -> None:
    assert out_of_memory([ended(how, ready=ready)], REVISION)
    assert not out_of_memory([ended(how, ready=ready)], "another")
    assert not out_of_memory([ended(how, "log", ready=ready)], REVISION)
    assert not out_of_memory([ended(CRASH, ready=ready), pod()], REVISION)


def test_an_accelerator_without_memory_is_told_as_such() -> None:
    found = pod_trouble([ended(CUDA)])
    assert found is not None
    assert found.reason == OUT_OF_MEMORY
    assert "container engine finds no memory left on its accelerator: torch.OutOf" in found.message
    found = pod_trouble([ended(COUNTED)])
    assert found is not None
    assert found.reason == OUT_OF_MEMORY
    assert (
        "container engine finds no memory left: plimsoll serve: MemoryError: the KV"
        in found.message
    )


def test_it_is_raised_once_for_each_plan_twice_as_much_each_time_and_not_for_ever() -> None:
    before, told = knowing(None), []
    for number in range(MOST_RAISES + 2):
        plan = cpu_plan(revision=str(number))
        short = ended(KILLED)
        short["metadata"]["labels"]["plimsoll.dev/plan"] = str(number)
        seen = situation(short, plan=plan)
        found = learnt(before, seen)
        assert learnt(knowing(found), seen) == found
        before = knowing(found)
        told.append((found.memory, found.raises))
    assert told == [("512Mi", 1), ("1Gi", 2), ("2Gi", 3), *[("4Gi", 4)] * 3]


def test_a_large_plan_begins_with_a_share_of_it() -> None:
    found = learnt(knowing(None), situation(ended(KILLED), plan=gpu_plan()))
    assert parse_bytes(found.memory) == gpu_plan().memory_bytes // 16
    assert (found.accelerator, found.model) == ("NVIDIA-H200", "builtin://tiny")


KNOWN = MemoryReserve(
    accelerator="cpu", model="builtin://tiny", memory="1Gi", plan="older", raises=2
)


def test_another_model_or_accelerator_begins_anew() -> None:
    assert reserve_after(knowing(KNOWN), situation(pod())) == KNOWN
    other = {"source": "hf://org/name", "revision": "0123abc"}
    assert reserve_after(knowing(KNOWN, model=other), situation(pod())) is None
    assert reserve_after(knowing(KNOWN), situation(pod(), plan=gpu_plan())) is None
    assert learnt(knowing(KNOWN, model=other), situation(ended(KILLED))).raises == 1


def test_what_is_held_or_cannot_be_planned_teaches_nothing() -> None:
    short = ended(KILLED)
    assert reserve_after(knowing(None), situation(short, hold=Hold("Paused", ""))) is None
    assert reserve_after(knowing(None), replace(situation(short), started="other")) is None
    assert reserve_after(knowing(KNOWN), Situation(standing=Standing())) == KNOWN


def test_only_the_plan_that_ran_out_is_due() -> None:
    status = resource().status.model_copy(update={"plan": cpu_plan()})
    assert not ran_out(status)
    assert not ran_out(status.model_copy(update={"memory_reserve": KNOWN}))
    own = KNOWN.model_copy(update={"plan": cpu_plan().revision})
    assert ran_out(status.model_copy(update={"memory_reserve": own}))


def test_the_planner_is_given_what_is_of_its_model() -> None:
    before = knowing(KNOWN)
    assert before.spec is not None
    assert reserves_of(before.status, before.spec) == (("cpu", 2**30),)
    other = knowing(KNOWN, model={"source": "hf://org/name", "revision": "0123abc"})
    assert other.spec is not None
    assert reserves_of(other.status, other.spec) == ()
    broken = knowing(KNOWN.model_copy(update={"memory": "much"}))
    assert reserves_of(broken.status, before.spec) == ()


def test_it_is_an_event_once() -> None:
    before, after = resource().status, knowing(KNOWN).status
    (event,) = events_between(before, after, 1)
    assert event.reason == "MemoryReserved"
    assert event.message == (
        "a pod by plan older ran out of memory: the next plan keeps 1Gi more free on cpu"
    )
    assert events_between(after, after, 1) == ()

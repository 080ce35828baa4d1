"""Which plans running pods can take, decided from what runs; and what is said of it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.actions import Apply
from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.plans.choice import Standing
from plimsoll_operator.reconcile import Desired, reconcile
from plimsoll_operator.render.rendering import Rendering
from plimsoll_operator.resource import parse_resource
from plimsoll_operator.rollouts.live_limits import (
    NO_REPORT,
    EngineReport,
    LimitsReport,
    PlannedLimits,
    limits_for,
    planned_limits,
)
from plimsoll_operator.rollouts.pod_source import choose_source
from plimsoll_runtime.core.limits import EngineLimits, LiveLimits
from tests.unit.plimsoll_operator.samples import (
    FEASIBLE,
    IMAGE,
    LATER,
    NOW,
    Cell,
    condition,
    cpu_plan,
    gpu_plan,
    in_force,
    raw_resource,
)

KEY = ("Deployment", "chat")
FEWER = {"revision": "fewer", "max_num_seqs": 4, "max_num_batched_tokens": 128}
TWO = {"minReplicas": 2, "maxReplicas": 3}


def serving(plan: PlanStatus | None = None) -> Cell:
    cell = Cell(raw_resource())
    cell.settle(FEASIBLE if plan is None else standing(plan))
    return cell


def standing(plan: PlanStatus) -> Standing:
    return Standing(plan=plan, inputs=plan.revision)


def restarts(cell: Cell, plan: PlanStatus, image: Rendering = IMAGE) -> bool:
    """Whether pods are replaced when `plan` comes into force."""
    before = cell.world.children[KEY]["spec"]["template"]
    resource, observed = parse_resource(cell.raw), cell.world.observed()
    pods = choose_source(resource, standing(plan), image, observed)
    applied = [
        action.child
        for action in reconcile(Desired(resource, standing(plan), pods), observed, NOW).actions
        if isinstance(action, Apply) and action.key == KEY
    ]
    return any(child["spec"]["template"] != before for child in applied)


@pytest.mark.parametrize(
    "change",
    [
        {"max_num_seqs": 1},
        {"max_num_batched_tokens": 64},
        {"kv_cache_bytes": 2**20, "kv_cache_tokens": 2048, "memory_bytes": 600 * 2**20},
        {"max_num_seqs": 4, "kv_cache_bytes": 65 * 2**20, "memory_bytes": 701 * 2**20},
        {"replicas": 3},
    ],
)
def test_less_is_taken_without_a_restart(change: dict[str, Any]) -> None:
    assert not restarts(serving(), cpu_plan(revision="other", **change))


@pytest.mark.parametrize(
    "change",
    [
        {"max_num_seqs": 9},
        {"max_num_batched_tokens": 257},
        {"kv_cache_bytes": 80 * 2**20},
        {"max_num_seqs": 4, "max_model_len": 1024},
        {"max_num_seqs": 4, "cpu_cores": "1"},
    ],
)
def test_more_of_anything_and_anything_else_restarts(change: dict[str, Any]) -> None:
    assert restarts(serving(), cpu_plan(revision="other", **change))
    assert restarts(serving(), gpu_plan(revision="other"))


def test_pods_with_an_earlier_image_take_limits_too() -> None:
    cell, plan = serving(), cpu_plan(**FEWER)
    assert not restarts(cell, plan, Rendering("registry.example/runtime:2"))


def test_pods_that_never_served_are_replaced() -> None:
    """As after limits under which they run out of memory: these would never be sent."""
    cell = Cell(raw_resource())
    cell.step(FEASIBLE)
    assert restarts(cell, cpu_plan(**FEWER))
    cell.world.roll_out()
    assert not restarts(cell, cpu_plan(**FEWER))
    # Once they have, pods that come and go change nothing.
    cell.world.children[KEY]["status"]["readyReplicas"] = 0
    assert not restarts(cell, cpu_plan(**FEWER))


def test_on_gpus_too_and_there_a_little_less_memory_for_the_cache_will_do() -> None:
    cell = serving(gpu_plan())
    fewer = {**FEWER, "max_num_batched_tokens": 2048}
    assert not restarts(cell, gpu_plan(**fewer, kv_cache_bytes=41 * 2**30))
    assert restarts(cell, gpu_plan(**fewer, kv_cache_bytes=43 * 2**30))


def test_what_ran_out_of_memory_is_restarted() -> None:
    cell, plan = serving(gpu_plan()), gpu_plan(revision="less", kv_cache_bytes=39 * 2**30)
    assert not restarts(cell, plan)
    reserve = {"accelerator": "NVIDIA-H200", "model": "builtin://tiny", "memory": "1Gi"}
    for ran_out, expected in (("0123456789", True), ("another", False)):
        cell.raw["status"]["memoryReserve"] = {**reserve, "plan": ran_out, "raises": 1}
        assert restarts(cell, plan) is expected


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "max_num_seqs": st.integers(1, 8),
                "max_num_batched_tokens": st.integers(8, 256),
                "kv_cache_bytes": st.integers(2**20, 64 * 2**20),
            }
        ),
        max_size=4,
    )
)
@settings(max_examples=25)
def test_whatever_is_edited_below_comes_back_byte_for_byte(edits: list[dict[str, int]]) -> None:
    cell = serving()
    before = cell.world.rendered()
    for number, edit in enumerate(edits):
        cell.edit(scaling={"maxReplicas": 1})
        plan = cpu_plan(revision=f"r{number}", **edit)
        cell.settle(standing(plan))
        assert condition(cell, "Ready")["reason"] == "ChangingLimits"
        cell.settle(standing(plan), limits=in_force(plan, cpu_plan()))
        assert condition(cell, "Ready")["status"] == "True"
    cell.edit(scaling={"maxReplicas": 1})
    cell.settle(FEASIBLE)
    assert cell.world.rendered() == before


@pytest.mark.parametrize("where", ["nodeSelector", "args", "label", "all"])
def test_a_deployment_that_was_tampered_with_converges(where: str) -> None:
    cell, fewer = serving(), standing(cpu_plan(**FEWER))
    cell.settle(fewer)
    template = cell.world.children[KEY]["spec"]["template"]
    if where == "nodeSelector":
        template["spec"]["nodeSelector"] = {"disk": "ssd"}
    elif where == "args":
        template["spec"]["containers"][0]["args"].pop()
    elif where == "label":
        template["metadata"]["labels"] = {}
    else:
        cell.world.children[KEY]["spec"] = {"replicas": 1, "template": []}
    cell.settle(fewer)
    assert cell.step(fewer, now=LATER).actions == ()
    after = cell.world.children[KEY]["spec"]["template"]["spec"]
    assert after["nodeSelector"] == {}
    assert "--threads=1" in after["containers"][0]["args"]


ENGINE = EngineReport(LiveLimits(8, 256, 1024), LiveLimits(8, 256, 1024), 16)


def test_what_is_sent() -> None:
    started = cpu_plan()
    assert planned_limits(started, started) == PlannedLimits(8, 256, None)
    assert limits_for(planned_limits(started, started), ENGINE) == ENGINE.most
    smaller = cpu_plan(**FEWER, kv_cache_bytes=2**20, kv_cache_tokens=2050)
    assert limits_for(planned_limits(smaller, started), ENGINE) == LiveLimits(4, 128, 128)
    # An engine that has taken less than it was told keeps to what it has.
    assert limits_for(PlannedLimits(9, 999, 10**6), ENGINE) == ENGINE.most


@given(
    seqs=st.integers(1, 16),
    tokens=st.integers(16, 512),
    cache=st.integers(2048, 20000) | st.none(),
)
def test_an_engine_takes_what_it_is_sent(seqs: int, tokens: int, cache: int | None) -> None:
    engine = EngineLimits(8, 256, max_model_len=2048, num_blocks=1024)
    wanted = limits_for(PlannedLimits(seqs, tokens, cache), ENGINE)
    engine.check_live(wanted)
    assert limits_for(PlannedLimits(seqs, tokens, cache), EngineReport(wanted, engine.live, 16))


def step(cell: Cell, plan: PlanStatus, limits: LimitsReport) -> dict[str, Any]:
    cell.step(standing(plan), limits=limits)
    return condition(cell, "Ready")


def test_ready_once_the_limits_are_in_force_and_not_before() -> None:
    cell, plan = serving(), cpu_plan(**FEWER)
    cell.edit(pin={"maxNumSeqs": 4})
    refused = LimitsReport(lacking=("HTTP 401 not let in", "HTTP 401 not let in"))
    ready = step(cell, plan, refused)
    assert (ready["status"], ready["reason"]) == ("False", "ChangingLimits")
    assert ready["message"] == (
        "2 replicas have not taken maxNumSeqs 4 and maxNumBatchedTokens 128: HTTP 401 not let in"
    )
    assert condition(cell, "Reconciling")["status"] == "True"
    # Nor while nobody has been heard of.
    ready = step(cell, plan, NO_REPORT)
    assert (ready["status"], ready["reason"]) == ("False", "ChangingLimits")
    assert ready["message"] == "0 of 1 replicas have said that they run under the plan's limits"
    heard = in_force(plan, cpu_plan())
    ready = step(cell, plan, heard)
    assert (ready["status"], ready["reason"]) == ("True", "Serving")
    assert cell.raw["status"]["limits"] == {
        "maxNumSeqs": 4,
        "maxNumBatchedTokens": 128,
        "kvCacheTokens": 16384,
        "replicas": 1,
        "startedRevision": "0123456789",
    }
    # What serves goes on to be Ready when a new pod does not answer at once; it is said.
    ready = step(cell, plan, LimitsReport(heard.status, ("no answer within 2 s",)))
    assert ready["status"] == "True"
    assert "1 replica has not taken maxNumSeqs 4" in ready["message"]


def test_ready_once_as_many_as_must_serve_have_said_so() -> None:
    cell, plan = Cell(raw_resource(spec={"scaling": TWO})), cpu_plan(**FEWER)
    cell.settle(FEASIBLE)
    cell.edit(pin={"maxNumSeqs": 4})
    assert step(cell, plan, in_force(plan, cpu_plan()))["reason"] == "ChangingLimits"
    assert step(cell, plan, in_force(plan, cpu_plan(), replicas=2))["status"] == "True"

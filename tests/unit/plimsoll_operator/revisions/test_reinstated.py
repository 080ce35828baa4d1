"""A plan that was in force for the same inputs comes back, unless something speaks against it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.api.validate import parse_spec
from plimsoll_operator.planning.model_source import SourceModels, read_model_config
from plimsoll_operator.revisions.kept_plan import KeptPlan
from plimsoll_operator.revisions.record import Sources, record
from plimsoll_operator.revisions.reinstated import has_room, reinstated
from plimsoll_planner.inputs import AcceleratorPool
from tests.unit.plimsoll_operator.samples import cpu_plan, gpu_plan

GIB = 2**30
PLAN = cpu_plan(cpu_cores="1", memory_bytes=2 * GIB, replicas=2)
POOLS = (AcceleratorPool("cpu", 4, 2, 16 * GIB),)
CHEAPER = {"metadata": {"name": "cpu"}, "spec": {"products": ["cpu"], "pricePerHour": "0.03"}}
MODELS = SourceModels(read_model_config("builtin://tiny"))


def sources(**slo: Any) -> Sources:
    spec = parse_spec({"model": {"source": "builtin://tiny"}, "slo": slo})
    return Sources(spec, 7, MODELS, POOLS, (), (), "0.1.0")


def kept(given: Sources, *, feasible: bool = True, plan: PlanStatus = PLAN) -> KeptPlan:
    inputs = json.loads(json.dumps(record(given, feasible=feasible)))
    data = {"plan": plan.model_dump(mode="json", by_alias=True, exclude_none=True)}
    return KeptPlan("chat-1", 1, {**data, "inputs": inputs})


def test_what_is_measured_and_which_nodes_there_are_changes_nothing() -> None:
    before = kept(sources())
    now = replace(sources(), generation=9, pools=(AcceleratorPool("cpu", 64, 9, 16 * GIB),))
    assert reinstated(before, now) == PLAN


@pytest.mark.parametrize(
    "now",
    [
        replace(sources(), accelerators=(CHEAPER,)),
        replace(sources(), planner="0.2.0"),
        replace(sources(), pools=()),
        replace(sources(), pools=(AcceleratorPool("cpu", 1, 1, 16 * GIB),)),
        replace(sources(), pools=(AcceleratorPool("cpu", 4, 1, 3 * GIB),)),
    ],
    ids=["accelerators", "planner", "no nodes", "too few", "too small"],
)
def test_what_plans_follow_from_besides_is_planned_anew(now: Sources) -> None:
    assert reinstated(kept(sources()), now) is None


def test_a_plan_that_missed_the_promise_is_not_taken_up_again() -> None:
    hopeful = sources(whenInfeasible="BestEffort")
    assert reinstated(kept(hopeful, feasible=False), hopeful) is None
    assert reinstated(kept(hopeful), hopeful) == PLAN
    # As it was recorded before that was said.
    silent = kept(hopeful)
    inputs = {key: value for key, value in silent.inputs.items() if key != "feasible"}
    assert reinstated(replace(silent, data={**silent.data, "inputs": inputs}), hopeful) is None


@pytest.mark.parametrize("data", [{}, {"plan": {}}, {"inputs": {}}, {"plan": 1, "inputs": []}])
def test_what_cannot_be_read_is_planned_anew(data: dict[str, Any]) -> None:
    assert reinstated(KeptPlan("chat-1", 1, data), sources()) is None


@settings(max_examples=40)
@given(
    ranks=st.integers(1, 8),
    wanted=st.integers(1, 12),
    nodes=st.lists(
        st.tuples(
            st.sampled_from(["NVIDIA-H200", "NVIDIA-L40S"]),
            st.integers(0, 8),
            st.integers(0, 3),
            st.sampled_from([None, 20 * GIB, 141 * GIB]),
            st.booleans(),
        ),
        max_size=4,
    ),
)
def test_room_is_as_many_whole_replicas_as_nodes_hold(
    ranks: int, wanted: int, nodes: list[tuple[str, int, int, int | None, bool]]
) -> None:
    plan = gpu_plan(
        accelerator="NVIDIA-H200",
        tensor_parallel_size=ranks,
        replicas=wanted,
        memory_bytes=60 * GIB,
    )
    pools = tuple(
        AcceleratorPool(product, count, number, memory, shared=shared)
        for product, count, number, memory, shared in nodes
    )
    placed = 0
    for product, count, number, memory, shared in nodes:
        if product == "NVIDIA-H200" and not shared and memory != 20 * GIB:
            for _ in range(number):
                left = count
                while left >= ranks:
                    left, placed = left - ranks, placed + 1
    assert has_room(plan, pools) is (placed >= wanted)


def test_slices_are_no_room_for_whole_ones() -> None:
    pool = AcceleratorPool("A", 8, 1, resource="nvidia.com/mig-1g.10gb")
    whole = gpu_plan(accelerator="A", tensor_parallel_size=1, replicas=1)
    assert not has_room(whole, (pool,))
    assert has_room(whole.model_copy(update={"resource_name": pool.resource}), (pool,))

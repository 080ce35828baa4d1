"""What the engine can run goes before what it cannot."""

from dataclasses import replace

import pytest

from plimsoll_planner.inputs import AcceleratorPool, PlanRequest
from plimsoll_planner.planner import plan
from plimsoll_planner.result import Plan
from plimsoll_planner.support import EngineSupport
from tests.unit.plimsoll_planner import models
from tests.unit.plimsoll_planner.models import CPU_NODE, request_for

ENGINE = EngineSupport(("cpu", "nvidia.com/gpu"), ("BF16", "FP32"), 8)
AMD = AcceleratorPool("MI300X", 8, 1, price_per_hour=0.1)
GAUDI = AcceleratorPool("Gaudi-3", 8, 1, price_per_hour=0.1)
H200 = AcceleratorPool("NVIDIA-H200", 8, 1, price_per_hour=9.0)


def asked(*pools: AcceleratorPool, **changes: object) -> PlanRequest:
    request = request_for(models.LLAMA_31_8B, *pools, max_replicas=2)
    return replace(request, engine=ENGINE, **changes)  # type: ignore[arg-type]


def planned(request: PlanRequest) -> Plan:
    result = plan(request)
    assert result.feasible, result.binding_constraint
    assert result.plan is not None
    return result.plan


@pytest.mark.parametrize("other", [AMD, GAUDI])
def test_other_vendors_are_left_out_beside_gpus_that_do(other: AcceleratorPool) -> None:
    request = asked(other, H200, CPU_NODE)
    assert planned(request).accelerator == "NVIDIA-H200"
    assert planned(replace(request, engine=None)).accelerator == other.accelerator
    reasons = [
        item.rejected_because
        for item in plan(request).candidates
        if item.accelerator == other.accelerator
    ]
    assert len(reasons) == 1
    assert "the engine does not run on it" in reasons[0]
    assert "name it in accelerators.allow" in reasons[0]


def test_alone_or_named_they_are_planned_on() -> None:
    assert planned(asked(AMD, CPU_NODE)).accelerator == "MI300X"
    assert planned(asked(AMD, H200, allow=("MI300X",))).accelerator == "MI300X"
    # Named with others, what runs still wins.
    assert planned(asked(AMD, H200, allow=("MI300X", "H200"))).accelerator == "NVIDIA-H200"


def test_an_infeasible_request_is_not_answered_with_what_cannot_run() -> None:
    result = plan(asked(AMD, AcceleratorPool("Tesla-T4", 1, 1), CPU_NODE))
    assert not result.feasible
    assert result.plan is None or result.plan.accelerator != "MI300X"


def test_ways_out_that_cannot_run_come_last_and_say_so() -> None:
    h100 = AcceleratorPool("NVIDIA-H100-80GB-HBM3", 8, 2)
    request = request_for(models.LLAMA_31_405B, h100, rate=1, ttft=2, max_replicas=2)
    free, bound = plan(request), plan(replace(request, engine=ENGINE))
    assert {one.change for one in free.alternatives} == {one.change for one in bound.alternatives}
    said = ["; but the engine " in one.effect for one in bound.alternatives]
    assert said == sorted(said)
    assert any(said)
    assert not any("; but the engine " in one.effect for one in free.alternatives)

"""Several nodes for one replica where one does not hold the model, and whole experts by rank."""

from dataclasses import replace

import pytest

from plimsoll_operator.reports.plan_report import breakdown
from plimsoll_planner.accelerators import find
from plimsoll_planner.inputs import AcceleratorPool, Pin, PlanRequest
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.planned_shape import shape_of
from plimsoll_planner.planner import plan
from plimsoll_planner.result import Plan
from plimsoll_planner.search.products import Product
from plimsoll_planner.search.search import search
from plimsoll_planner.search.shape import Shape
from tests.unit.plimsoll_planner import models, published
from tests.unit.plimsoll_planner.models import CPU_NODE, request_for

H100 = AcceleratorPool("NVIDIA-H100-80GB-HBM3", 8, 4)
LARGE = replace(
    request_for(models.LLAMA_31_405B, H100, rate=1, ttft=2, max_replicas=2),
    max_accelerators_per_replica=16,
)


def planned(request: PlanRequest) -> Plan:
    result = plan(request)
    assert result.feasible, result.binding_constraint
    assert result.plan is not None
    return result.plan


def test_two_nodes_hold_what_one_does_not() -> None:
    found = planned(LARGE)
    assert (found.tensor_parallel_size, found.pipeline_parallel_size) == (8, 2)
    assert found.memory_bytes <= 0.9 * 80 * 2**30
    # What fits one node stays on it.
    assert planned(request_for(models.LLAMA_31_8B, H100)).pipeline_parallel_size == 1


def test_two_nodes_are_a_way_out() -> None:
    result = plan(replace(LARGE, max_accelerators_per_replica=8))
    assert not result.feasible
    (wider,) = (one for one in result.alternatives if "maxPerReplica" in one.change)
    assert wider.change == "accelerators.maxPerReplica: 16"
    assert wider.effect.startswith("1 replica of NVIDIA-H100-80GB-HBM3×16 on 2 nodes, ")


def test_a_pinned_pipeline_is_kept() -> None:
    request = request_for(models.LLAMA_31_8B, H100)
    found = planned(replace(request, pin=Pin(pipeline_parallel_size=2)))
    assert found.pipeline_parallel_size == 2
    # Pinned to one node, it is not spread.
    refused = plan(replace(LARGE, pin=Pin(pipeline_parallel_size=1)))
    assert not refused.feasible
    assert any(one.change == "remove pin.pipelineParallelSize" for one in refused.alternatives)


@pytest.mark.parametrize(
    ("stages", "pool", "said"),
    [
        (5, H100, "each stage has a node of its own, and 4 have NVIDIA-H100"),
        (100, replace(H100, nodes=200), "the model has 32 layers"),
        (2, CPU_NODE, "a replica on cpu has one stage: pin 1"),
    ],
)
def test_impossible_pipelines_are_named(stages: int, pool: AcceleratorPool, said: str) -> None:
    request = request_for(models.LLAMA_31_8B, pool)
    pinned = replace(
        request, pin=Pin(pipeline_parallel_size=stages), max_accelerators_per_replica=2000
    )
    assert said in plan(pinned).binding_constraint


def test_no_two_stages_of_a_replica_share_a_node() -> None:
    gpu = find("NVIDIA-H200")
    assert gpu is not None
    shape = Shape(gpu, gpu.name, "BF16", "BF16", 4, pipeline_parallel_size=2)
    for pools, fit in (
        ([(8, 1)], 0),
        ([(8, 2)], 2),
        ([(8, 3)], 3),
        ([(8, 1), (4, 1)], 1),
        ([(8, 1), (4, 4)], 3),
        ([(3, 9)], 0),
    ):
        product = Product(
            gpu.name, gpu, tuple(AcceleratorPool(gpu.name, count, n) for count, n in pools)
        )
        assert product.replicas(shape, 0) == fit, pools


def test_a_pipeline_occupies_its_share_of_every_node() -> None:
    gpu = find("NVIDIA-H200")
    assert gpu is not None
    product = Product(gpu.name, gpu, (AcceleratorPool(gpu.name, 8, 2),))
    for size, stages, taken in ((8, 1, 8), (8, 2, 16), (4, 2, 8), (3, 2, 8), (5, 2, 16)):
        shape = Shape(gpu, gpu.name, "BF16", "BF16", size, pipeline_parallel_size=stages)
        assert product.occupied(shape) == taken, shape


def test_a_plan_tells_its_shape() -> None:
    found = planned(LARGE)
    request = replace(LARGE, pin=Pin(pipeline_parallel_size=2))
    shapes = {bid.shape for bid in search(request).bids}
    assert shape_of(found) in shapes
    parts = breakdown(found, model_facts(LARGE.model))
    assert parts.total == found.memory_bytes
    assert parts.kv_cache == found.kv_cache_bytes
    with pytest.raises(ValueError, match="no figures for Abacus"):
        shape_of(replace(found, accelerator="Abacus"))


def test_whole_experts_are_tried_and_taken_where_they_are_better() -> None:
    request = request_for(
        published.facts("deepseek-ai/DeepSeek-V3").model,
        AcceleratorPool("NVIDIA-H200", 8, 1),
        rate=2,
        ttft=2,
    )
    market = search(request)
    kinds = {bid.shape.expert_parallel for bid in market.bids if bid.feasible}
    assert kinds == {False, True}
    found = planned(request)
    best = max(market.bids, key=lambda bid: bid.option.sustained)
    assert found.expert_parallel == best.shape.expert_parallel
    dense = search(request_for(models.LLAMA_31_8B, H100))
    assert not any(bid.shape.expert_parallel for bid in dense.bids)

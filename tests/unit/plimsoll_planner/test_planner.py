from dataclasses import replace

import pytest

from plimsoll_planner.inputs import AcceleratorPool, Objectives, Pin, PlanRequest
from plimsoll_planner.planner import plan
from plimsoll_planner.result import Plan, PlanResult
from plimsoll_planner.search.products import offer
from plimsoll_planner.search.shape import Shape
from tests.unit.plimsoll_planner import models
from tests.unit.plimsoll_planner.models import CPU_NODE, H200_NODE, L4_NODES, request_for

L40S_NODES = AcceleratorPool("NVIDIA-L40S", 4, 2)


def planned(request: PlanRequest) -> Plan:
    result = plan(request)
    assert result.feasible, result.binding_constraint
    assert result.plan is not None
    return result.plan


def test_tiny_model_takes_half_a_core() -> None:
    found = planned(request_for(models.TINY, CPU_NODE, rate=1, context=1024))
    assert (found.accelerator, found.cpu_cores, found.tensor_parallel_size) == ("cpu", 0.5, 1)
    assert found.weights_precision == "BF16"
    assert 1.5 * 2**30 < found.memory_bytes < 2 * 2**30


def test_smaller_gpus_win_where_they_do() -> None:
    found = planned(request_for(models.LLAMA_31_8B, L40S_NODES, H200_NODE))
    assert found.accelerator == "NVIDIA-L40S"
    assert found.tensor_parallel_size == 1


def test_a_tight_promise_takes_a_faster_gpu() -> None:
    found = planned(request_for(models.LLAMA_31_8B, L40S_NODES, H200_NODE, tpot=0.0115))
    assert found.accelerator == "NVIDIA-H200"


def test_prices_decide_where_all_are_known() -> None:
    dear = replace(L40S_NODES, price_per_hour=9.0)
    cheap = replace(H200_NODE, price_per_hour=1.0)
    found = planned(request_for(models.LLAMA_31_8B, dear, cheap))
    assert found.accelerator == "NVIDIA-H200"
    assert found.predicted.cost_per_million_tokens == pytest.approx(
        found.replicas * 1.0 / (4 * 200 * 3600) * 1e6, rel=0.01
    )


def test_tensor_parallelism_is_the_smallest_that_fits() -> None:
    found = planned(request_for(models.LLAMA_31_70B, H200_NODE, rate=1, max_replicas=2))
    assert found.tensor_parallel_size == 2
    assert found.kv_cache_tokens >= found.max_model_len


def test_gpus_that_are_left_over_count() -> None:
    """Where 3 of 4 GPUs would do, 2 replicas of 2 are as good as 2 nodes; 3 of 3 leave none."""
    heads = models.llama(3072, 9216, 32, 24, 12, 128, 32000)
    pinned = planned(replace(request_for(heads, L4_NODES), pin=Pin(tensor_parallel_size=3)))
    assert pinned.tensor_parallel_size == 3
    by_threes = AcceleratorPool("NVIDIA-L4", 3, 2)
    four, three = (offer(request_for(heads, pool)).products[0] for pool in (L4_NODES, by_threes))
    shape = Shape(four.accelerator, four.label, "BF16", "BF16", 3)
    assert (four.occupied(shape), three.occupied(shape)) == (4, 3)
    assert four.occupied(replace(shape, tensor_parallel_size=2)) == 2
    both = replace(four, pools=(*four.pools, *three.pools))
    assert both.occupied(shape) == 3


def test_on_cpu_ranks_come_only_of_a_pin_and_share_cores_and_memory() -> None:
    request = request_for(models.TINY, CPU_NODE, rate=1, context=1024)
    one = planned(request)
    two = planned(replace(request, pin=Pin(tensor_parallel_size=2)))
    assert (one.tensor_parallel_size, two.tensor_parallel_size) == (1, 2)
    assert two.cpu_cores == one.cpu_cores
    assert two.memory_bytes > 1.8 * one.memory_bytes
    # The budget of one rank, half of what the same tokens take in one process.
    per_token = two.kv_cache_bytes / two.kv_cache_tokens
    assert per_token == pytest.approx(one.kv_cache_bytes / one.kv_cache_tokens / 2)
    assert two.predicted.tpot_p95 > one.predicted.tpot_p95


def test_ranks_on_cpu_that_the_node_cannot_hold_are_refused() -> None:
    request = request_for(models.TINY, replace(CPU_NODE, memory_bytes=2 * 2**30), context=1024)
    assert plan(request).plan is not None
    result = refusal(replace(request, pin=Pin(tensor_parallel_size=4)))
    assert "the largest node offers" in result.binding_constraint


def test_replicas_follow_the_rate() -> None:
    few = planned(request_for(models.LLAMA_31_8B, L40S_NODES, rate=5))
    many = planned(request_for(models.LLAMA_31_8B, L40S_NODES, rate=50))
    assert many.replicas > few.replicas
    assert many.replicas * many.predicted.requests_per_second_per_replica >= 50


def test_min_replicas_are_kept() -> None:
    request = replace(request_for(rate=1), min_replicas=3)
    assert planned(request).replicas == 3


def test_context_is_the_models_own_where_none_is_asked() -> None:
    request = request_for(models.LLAMA_31_8B, H200_NODE, context=None)
    assert planned(request).max_model_len == 131072
    longer = replace(request, max_context_length=10**6)
    assert planned(longer).max_model_len == 131072


@pytest.mark.parametrize(
    "pin",
    [
        Pin(tensor_parallel_size=4),
        Pin(max_num_seqs=20),
        Pin(max_num_batched_tokens=1000),
        Pin(kv_cache_bytes=4 * 2**30),
        Pin(2, 24, 768, 5 * 2**30),
    ],
)
def test_pins_are_kept(pin: Pin) -> None:
    found = planned(replace(request_for(models.LLAMA_31_8B, L40S_NODES, rate=1), pin=pin))
    assert pin.tensor_parallel_size in (None, found.tensor_parallel_size)
    assert pin.max_num_seqs in (None, found.max_num_seqs)
    assert pin.max_num_batched_tokens in (None, found.max_num_batched_tokens)
    assert pin.kv_cache_bytes in (None, found.kv_cache_bytes)


def test_allow_takes_aliases_and_keeps_the_nodes_own_label() -> None:
    request = replace(request_for(models.LLAMA_31_8B, L40S_NODES, H200_NODE), allow=("h200",))
    assert planned(request).accelerator == "NVIDIA-H200"


def test_explicit_precision_is_kept() -> None:
    request = request_for(models.TINY, CPU_NODE, rate=1, context=1024)
    found = planned(replace(request, weights_precision="BF16"))
    assert (found.weights_precision, found.kv_cache_precision) == ("BF16", "BF16")


def test_no_promise_still_gives_a_sensible_batch() -> None:
    found = planned(request_for(models.LLAMA_31_8B, L40S_NODES, ttft=None, tpot=None))
    assert 16 <= found.max_num_seqs <= 512
    assert found.predicted.tpot_p95 <= 0.1


def refusal(request: PlanRequest) -> PlanResult:
    result = plan(request)
    assert not result.feasible
    return result


def test_slow_hardware_is_named_with_figures() -> None:
    result = refusal(request_for(ttft=0.05, tpot=None))
    assert result.binding_constraint.startswith("timeToFirstToken p95 50ms: NVIDIA-L4×2 reaches ")
    assert result.plan is not None


def test_missing_replicas_are_named_with_figures() -> None:
    result = refusal(request_for(models.LLAMA_31_8B, L40S_NODES, rate=100, max_replicas=1))
    assert result.binding_constraint.startswith("maxReplicas 1 serve ")
    assert " of 100 requests/s on NVIDIA-L40S×" in result.binding_constraint
    assert " within the SLO: " in result.binding_constraint


def test_missing_nodes_are_named() -> None:
    one = AcceleratorPool("NVIDIA-L40S", 1, 1)
    result = refusal(request_for(models.LLAMA_31_8B, one, rate=30))
    assert result.binding_constraint.startswith("1 replica, all that the nodes hold, serve ")


def test_weights_that_do_not_fit_are_named_with_figures() -> None:
    t4s = AcceleratorPool("NVIDIA-T4", 8, 2)
    result = refusal(request_for(models.LLAMA_31_70B, t4s))
    assert result.plan is None
    assert result.binding_constraint == (
        "the model needs 262.9Gi of weights in FP32, NVIDIA-T4×8 offer 108.0Gi"
    )


def test_a_context_that_does_not_fit_is_named() -> None:
    one = AcceleratorPool("NVIDIA-L4", 1, 1)
    result = refusal(request_for(models.LLAMA_31_8B, one, rate=0.1, tpot=0.08, context=None))
    assert "one context of 131072 tokens" in result.binding_constraint
    assert any(a.change.startswith("model.maxContextLength: ") for a in result.alternatives)


def test_products_that_nobody_offers_are_named() -> None:
    result = refusal(replace(request_for(), allow=("NVIDIA-H200", "cpu")))
    assert result.binding_constraint == (
        "no node offers any of accelerators.allow [NVIDIA-H200, cpu]; the cluster has [NVIDIA-L4]"
    )


def test_unknown_products_are_named() -> None:
    result = refusal(request_for(models.LLAMA_31_8B, AcceleratorPool("Acme-X1", 8, 1)))
    assert result.binding_constraint.startswith("no figures are known for Acme-X1")


def test_an_empty_cluster_is_named() -> None:
    result = refusal(replace(request_for(), inventory=()))
    assert result.binding_constraint.startswith("no schedulable node")


def test_an_unknown_price_is_named() -> None:
    priced = Objectives(0.8, 0.06, max_cost_per_million_tokens=1.0)
    result = refusal(replace(request_for(), objectives=priced))
    assert "the price of NVIDIA-L4 is unknown" in result.binding_constraint


def test_a_price_above_the_promise_is_named() -> None:
    nodes = replace(L40S_NODES, price_per_hour=5.0)
    priced = Objectives(0.8, 0.06, max_cost_per_million_tokens=0.1)
    result = refusal(replace(request_for(models.LLAMA_31_8B, nodes), objectives=priced))
    assert "above maxCostPerMillionTokens 0.1" in result.binding_constraint
    assert result.alternatives[0].change.startswith("slo.maxCostPerMillionTokens: ")


@pytest.mark.parametrize(
    ("pin", "said"),
    [
        (Pin(tensor_parallel_size=3), "does not divide 32 attention heads"),
        (Pin(tensor_parallel_size=8), "a node with NVIDIA-L4 has at most 4"),
        (Pin(kv_cache_bytes=2**30), "holds 8192 tokens, fewer than maxContextLength 20000"),
        (Pin(kv_cache_bytes=60 * 2**30), "of KV cache for pin.kvCacheMemory"),
    ],
)
def test_impossible_pins_are_named(pin: Pin, said: str) -> None:
    count = 1 if pin.kv_cache_bytes else 4
    nodes = AcceleratorPool("NVIDIA-L4", count, 2)
    result = refusal(replace(request_for(models.LLAMA_31_8B, nodes, context=20000), pin=pin))
    assert said in " ".join(c.rejected_because for c in result.candidates)


def test_formats_that_are_not_computed_are_named() -> None:
    t4s = AcceleratorPool("Tesla-T4", 8, 1)
    request = replace(request_for(models.LLAMA_31_8B, t4s), weights_precision="BF16")
    assert refusal(request).binding_constraint == "Tesla-T4 does not compute in BF16: use FP32"


def test_formats_that_one_engine_cannot_mix_are_named() -> None:
    mixed = replace(
        request_for(models.TINY, CPU_NODE, rate=1, context=1024),
        weights_precision="FP32",
        kv_cache_precision="BF16",
    )
    result = refusal(mixed)
    assert result.plan is None
    assert result.binding_constraint == (
        "precision.kvCache BF16 with precision.weights FP32: the engine keeps its KV cache in the "
        "format of the weights or in INT8, so give both the same, or one of them Auto"
    )
    assert any(
        item.change.startswith("precision.weights and precision.kvCache: ")
        for item in result.alternatives
    )


SLICED = AcceleratorPool("NVIDIA-L40S-SHARED", 16, 2, shared=True)


def test_shared_gpus_are_named_and_not_planned_on() -> None:
    sliced = AcceleratorPool("NVIDIA-L4-SHARED", 16, 2, shared=True)
    result = refusal(request_for(models.TINY, sliced, context=1024))
    assert result.plan is None
    assert result.binding_constraint == (
        "NVIDIA-L4-SHARED: its nodes share each GPU among several pods, and a replica needs whole "
        "ones: turn sharing off in the configuration of the nodes' device plugin"
    )
    # Whole ones of the same product are a way out.
    assert any(item.change == "1 node with 1×NVIDIA-L4" for item in result.alternatives)


def test_whole_gpus_are_planned_on_beside_shared_ones() -> None:
    request = request_for(models.LLAMA_31_8B, L40S_NODES, SLICED)
    result = plan(request)
    assert result.plan == planned(request_for(models.LLAMA_31_8B, L40S_NODES))
    (candidate,) = (item for item in result.candidates if "SHARED" in item.accelerator)
    assert "share each GPU" in candidate.rejected_because
    same_label = replace(SLICED, accelerator="NVIDIA-L40S")
    assert plan(request_for(models.LLAMA_31_8B, L40S_NODES, same_label)).plan == result.plan


@pytest.mark.parametrize("weights", ["Auto", "BF16", "FP32"])
@pytest.mark.parametrize("kv_cache", ["Auto", "BF16", "FP32"])
def test_no_plan_mixes_formats(weights: str, kv_cache: str) -> None:
    request = request_for(models.TINY, CPU_NODE, rate=1, context=1024)
    found = plan(replace(request, weights_precision=weights, kv_cache_precision=kv_cache)).plan
    if found is None:
        assert "Auto" not in (weights, kv_cache)
        assert weights != kv_cache
    else:
        assert found.weights_precision == found.kv_cache_precision
        assert weights in ("Auto", found.weights_precision)
        assert kv_cache in ("Auto", found.kv_cache_precision)


@pytest.mark.parametrize(
    ("pool", "taken"),
    [
        (AcceleratorPool("Tesla-T4", 8, 1), "FP32"),
        *((AcceleratorPool(name, 8, 1), "BF16") for name in ("NVIDIA-L4", "NVIDIA-H200")),
        (CPU_NODE, "BF16"),
    ],
    ids=lambda value: getattr(value, "accelerator", None),
)
def test_auto_takes_what_the_field_is_documented_to_take(pool: AcceleratorPool, taken: str) -> None:
    found = plan(request_for(models.TINY, pool, rate=1, context=1024)).plan
    assert found is not None
    assert (found.weights_precision, found.kv_cache_precision) == (taken, taken)


def test_the_winner_says_what_stopped_it_from_being_cheaper() -> None:
    by_replicas = planned(request_for(models.LLAMA_31_8B, L40S_NODES, rate=50))
    assert "would each get" in by_replicas.binding_constraint
    by_size = planned(request_for(models.LLAMA_31_8B, L4_NODES, rate=1, tpot=0.05))
    assert by_size.binding_constraint.startswith("NVIDIA-L4×1, which is smaller, does not do: ")


def test_every_candidate_but_the_winner_has_a_reason() -> None:
    result = plan(request_for(models.LLAMA_31_8B, L4_NODES, H200_NODE, CPU_NODE))
    assert [c.rejected_because == "" for c in result.candidates].count(True) == 1
    assert {c.accelerator for c in result.candidates} >= {"NVIDIA-L4", "NVIDIA-H200", "cpu×0.5"}


def test_no_gpu_is_promised_what_its_memory_cannot_hold() -> None:
    for gpu in ("NVIDIA-L4", "NVIDIA-L40S", "NVIDIA-A100-SXM4-40GB", "NVIDIA-H200"):
        result = plan(request_for(models.LLAMA_31_8B, AcceleratorPool(gpu, 8, 4), tpot=None))
        assert result.plan is not None
        label = {"NVIDIA-L4": 23034, "NVIDIA-L40S": 46068, "NVIDIA-A100-SXM4-40GB": 40960}
        assert result.plan.memory_bytes <= 0.9 * label.get(gpu, 143771) * 2**20


SLICES = AcceleratorPool("NVIDIA-H200-MIG-1g.18gb", 7, 2, resource="nvidia.com/mig-1g.18gb")


def test_a_slice_serves_alone() -> None:
    found = planned(request_for(models.TINY, SLICES, context=1024))
    assert found.accelerator == "NVIDIA-H200-MIG-1g.18gb"
    assert found.resource == "nvidia.com/mig-1g.18gb"
    assert found.tensor_parallel_size == 1
    pinned = replace(
        request_for(models.TINY, SLICES, context=1024), pin=Pin(tensor_parallel_size=2)
    )
    result = plan(pinned)
    assert not result.feasible
    assert [item.rejected_because for item in result.candidates] == [
        "pin.tensorParallelSize 2: NVIDIA-H200-MIG-1g.18gb is a part of a GPU, which cannot work "
        "together with others: pin 1"
    ]
    # What is too large for one slice is not split over several.
    assert not plan(request_for(models.LLAMA_31_70B, SLICES)).feasible


def test_one_product_by_two_resources_is_two_products() -> None:
    as_gpus = replace(SLICES, resource=None, nodes=1)
    result = plan(request_for(models.TINY, SLICES, as_gpus, context=1024))
    assert result.plan is not None
    assert result.plan.resource in ("nvidia.com/gpu", "nvidia.com/mig-1g.18gb")
    assert len(offer(request_for(models.TINY, SLICES, as_gpus)).products) == 2


@pytest.mark.parametrize(
    ("label", "resource"), [("MI300X", "amd.com/gpu"), ("Gaudi-3", "habana.ai/gaudi")]
)
def test_other_vendors_are_planned_on(label: str, resource: str) -> None:
    found = planned(request_for(models.LLAMA_31_70B, AcceleratorPool(label, 8, 1), tpot=0.1))
    assert found.resource == resource


def test_what_engines_do_not_run_on_is_never_suggested() -> None:
    tiny_node = AcceleratorPool("Tesla-T4", 1, 1)
    result = plan(request_for(models.LLAMA_31_70B, tiny_node, max_replicas=2))
    assert not result.feasible
    said = " ".join(item.change for item in result.alternatives)
    assert "NVIDIA" in said
    assert "AMD" not in said
    assert "Gaudi" not in said


@pytest.mark.parametrize("most", [0, -1])
def test_a_replica_of_nothing_is_refused(most: int) -> None:
    request = replace(request_for(), max_accelerators_per_replica=most)
    with pytest.raises(ValueError, match=f"max_accelerators_per_replica is {most}: it must be at"):
        plan(request)


@pytest.mark.parametrize(("ttft", "tpot"), [(0.8, 0.001), (0.001, 0.02)])
def test_the_nearest_plan_makes_nobody_wait_for_a_promise_that_cannot_hold(
    ttft: float, tpot: float
) -> None:
    """As it may be run all the same (BestEffort), a promise that is lost leaves the batch as large
    as the load needs."""
    request = request_for(models.LLAMA_31_8B, H200_NODE, rate=8, ttft=ttft, tpot=tpot)
    nearest = refusal(request).plan
    assert nearest is not None
    without = planned(replace(request, objectives=Objectives()))
    assert nearest.max_num_seqs >= without.max_num_seqs / 2
    assert nearest.predicted.ttft_p95 < 0.2
    assert nearest.predicted.tpot_p95 < 0.02

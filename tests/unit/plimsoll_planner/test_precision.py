"""In which formats a model is planned: as it is published, or as asked."""

from dataclasses import replace

import pytest

from plimsoll_operator.engine_support import ENGINE
from plimsoll_planner.accelerators import find
from plimsoll_planner.inputs import AcceleratorPool, PlanRequest
from plimsoll_planner.model_facts import CHECKPOINT, ModelFacts
from plimsoll_planner.performance import step_time
from plimsoll_planner.planner import plan
from plimsoll_planner.precision import Precision, PrecisionError, precision
from plimsoll_planner.shape import Shape
from plimsoll_planner.support import Lack, Needs
from tests.unit.plimsoll_planner import models, published
from tests.unit.plimsoll_planner.models import CPU_NODE, request_for

DEEPSEEK = published.facts("deepseek-ai/DeepSeek-V3")
GPT_OSS = published.facts("openai/gpt-oss-120b")
H200 = AcceleratorPool("NVIDIA-H200", 8, 2)
H100 = AcceleratorPool("NVIDIA-H100-80GB-HBM3", 8, 2)


def taken(request: PlanRequest, label: str) -> Precision:
    accelerator = find(label)
    assert accelerator is not None
    return precision(request, accelerator, label)


@pytest.mark.parametrize(
    ("facts", "label", "formats"),
    [
        (DEEPSEEK, "NVIDIA-H200", Precision("FP8", "BF16")),
        (DEEPSEEK, "NVIDIA-A100-SXM4-80GB", Precision("FP8", "BF16")),
        (DEEPSEEK, "MI300X", Precision("FP8", "BF16")),
        (DEEPSEEK, "Tesla-T4", Precision("FP8", "FP16")),
        (GPT_OSS, "NVIDIA-B200", Precision("MXFP4", "BF16")),
    ],
)
def test_auto_is_what_a_quantized_model_is_published_in(
    facts: ModelFacts, label: str, formats: Precision
) -> None:
    assert taken(request_for(facts.model), label) == formats


def test_a_quantized_model_is_not_planned_on_cpu() -> None:
    with pytest.raises(PrecisionError, match="cpu does not compute with weights in FP8: use FP32"):
        taken(request_for(DEEPSEEK.model), "cpu")
    asked = replace(request_for(DEEPSEEK.model), weights_precision="BF16")
    assert taken(asked, "cpu") == Precision("BF16", "BF16")


def test_a_cache_in_int8_is_for_cpu() -> None:
    request = replace(request_for(models.LLAMA_32_1B), kv_cache_precision="INT8")
    assert taken(request, "cpu") == Precision("FP32", "INT8")
    assert taken(replace(request, weights_precision="BF16"), "cpu") == Precision("BF16", "INT8")
    with pytest.raises(PrecisionError, match="INT8 on cpu only, not on NVIDIA-H200: leave"):
        taken(request, "NVIDIA-H200")
    assert ENGINE.lack(Needs("cpu", "BF16", "INT8", 1)) is None
    assert ENGINE.lack(Needs("nvidia.com/gpu", "BF16", "INT8", 1)) is Lack.KV_CACHE
    assert ENGINE.lack(Needs("cpu", "BF16", "FP32", 1)) is Lack.KV_CACHE


def test_a_formats_name_means_the_checkpoints_own_groups() -> None:
    assert DEEPSEEK.weights_bytes("FP8") == DEEPSEEK.weights_bytes(CHECKPOINT)
    # Only its experts are in MXFP4; the rest stays in BF16.
    assert GPT_OSS.linear_bytes("MXFP4") == GPT_OSS.linear_bytes("BF16")
    assert GPT_OSS.expert_bytes("MXFP4") < 0.3 * GPT_OSS.expert_bytes("BF16")
    dense = models.LLAMA_31_8B
    assert taken(request_for(dense), "NVIDIA-H200") == Precision("BF16", "BF16")


def test_deepseek_fits_eight_h200_as_it_is_published() -> None:
    result = plan(request_for(DEEPSEEK.model, H200, rate=2, ttft=2, max_replicas=2))
    assert result.feasible, result.binding_constraint
    assert result.plan is not None
    assert (result.plan.tensor_parallel_size, result.plan.weights_precision) == (8, "FP8")


def test_a_t4_computes_in_half_precision_if_asked_and_the_engine_does_not() -> None:
    """It has no BF16; the engine, which has no FP16, runs on it in FP32."""
    request = request_for(models.LLAMA_32_1B, AcceleratorPool("Tesla-T4", 4, 2), tpot=0.2, ttft=5)
    halves = replace(request, weights_precision="FP16")
    assert taken(request, "Tesla-T4") == Precision("FP32", "FP32")
    assert taken(halves, "Tesla-T4") == Precision("FP16", "FP16")
    for label, reason in (("cpu", "cpu does not compute in FP16"), ("Gaudi-3", "use BF16 or FP32")):
        with pytest.raises(PrecisionError, match=reason):
            taken(halves, label)
    whole, half = plan(request).plan, plan(halves).plan
    assert whole is not None
    assert half is not None
    assert half.kv_cache_tokens > 1.8 * whole.kv_cache_tokens
    assert half.predicted.tpot_p95 < whole.predicted.tpot_p95
    needs = Needs("nvidia.com/gpu", "FP16", "FP16", 1)
    assert ENGINE.lack(needs) is Lack.WEIGHTS


@pytest.mark.parametrize("weights", ["FP8", "INT8", "INT4", "NVFP4", "MXFP4"])
def test_smaller_weights_may_be_asked_for(weights: str) -> None:
    request = request_for(models.LLAMA_31_70B, H100, rate=1)
    found = plan(replace(request, weights_precision=weights)).plan
    plain = plan(request).plan
    assert found is not None
    assert plain is not None
    assert (found.weights_precision, found.kv_cache_precision) == (weights, "BF16")
    # More of the same memory is left for the KV cache, or fewer GPUs do.
    fewer = found.tensor_parallel_size < plain.tensor_parallel_size
    assert fewer or found.kv_cache_tokens > 4 * plain.kv_cache_tokens


def test_smaller_weights_never_decode_slower() -> None:
    for label in ("Tesla-T4", "NVIDIA-A100-SXM4-80GB", "NVIDIA-H200", "NVIDIA-B200"):
        accelerator = find(label)
        assert accelerator is not None
        steps = [
            step_time(published.facts("Qwen/Qwen2.5-0.5B-Instruct"), shape).decode(1, 1000)
            for shape in (Shape(accelerator, label, name, "FP16") for name in ("FP16", "FP8"))
        ]
        assert steps[1] < steps[0]


def test_what_does_not_fit_is_offered_in_fewer_bits() -> None:
    request = request_for(models.LLAMA_31_405B, H100, rate=1, ttft=2, max_replicas=2)
    result = plan(request)
    assert not result.feasible
    assert "756.0Gi of weights in BF16" in result.binding_constraint
    (smaller,) = (one for one in result.alternatives if one.change == "precision.weights: FP8")
    assert smaller.effect.startswith("1 replica of NVIDIA-H100-80GB-HBM3×8, TTFT p95 ")
    assert plan(replace(request, weights_precision="FP8")).feasible
    # None where it is not what stands in the way.
    cpu = plan(request_for(models.TINY, CPU_NODE, ttft=1e-4, context=1024))
    assert not any("precision" in one.change for one in cpu.alternatives)

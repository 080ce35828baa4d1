"""In which formats a model is planned: as it is published, or as asked."""

from dataclasses import replace

import pytest

from plimsoll_operator.engines.engine_support import ENGINE
from plimsoll_planner.accelerators import find
from plimsoll_planner.catalogue.others import CPU_CORE
from plimsoll_planner.inputs import AcceleratorPool, Objectives, PlanRequest
from plimsoll_planner.model_facts import CHECKPOINT, ModelFacts, model_facts
from plimsoll_planner.models.formats import FORMATS, LAYERS
from plimsoll_planner.models.model import Model
from plimsoll_planner.models.weights import Part
from plimsoll_planner.performance.memory import without_kv_cache
from plimsoll_planner.performance.roofline import step_time
from plimsoll_planner.planner import plan
from plimsoll_planner.precision import Precision, PrecisionError, precision
from plimsoll_planner.search.shape import Shape
from plimsoll_planner.support import Lack, Needs
from plimsoll_runtime.core.compressed_tensors import CompressedTensors
from tests.unit.plimsoll_planner import models, published
from tests.unit.plimsoll_planner.models import CPU_NODE, request_for

DEEPSEEK = published.facts("deepseek-ai/DeepSeek-V3")
GPT_OSS = published.facts("openai/gpt-oss-120b")
H200 = AcceleratorPool("NVIDIA-H200", 8, 2)
H100 = AcceleratorPool("NVIDIA-H100-80GB-HBM3", 8, 2)


def in_int8(model: Model, *, weight_only: bool = False, head: bool = False) -> Model:
    """As compressed-tensors publishes it."""
    parts = (*LAYERS, Part.HEAD) if head else LAYERS
    return replace(
        model,
        checkpoint=replace(FORMATS["INT8"], parts=parts),
        compressed=CompressedTensors(weight_only=weight_only, head=head),
    )


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
    with pytest.raises(
        PrecisionError,
        match=r"cpu does not compute with weights in FP8 of this checkpoint, which is in FP8: take "
        r"one in compressed-tensors' symmetric INT8 with a scale for each output or weight \(W8A8, "
        r"W8A16\), or the unquantized one",
    ):
        taken(request_for(DEEPSEEK.model), "cpu")
    asked = replace(request_for(DEEPSEEK.model), weights_precision="BF16")
    assert taken(asked, "cpu") == Precision("BF16", "BF16")


def test_a_cache_in_int8_is_for_cpu() -> None:
    request = replace(request_for(models.LLAMA_32_1B), kv_cache_precision="INT8")
    assert taken(request, "cpu") == Precision("BF16", "INT8")
    assert taken(replace(request, weights_precision="FP32"), "cpu") == Precision("FP32", "INT8")
    with pytest.raises(PrecisionError, match="INT8 on cpu only, not on NVIDIA-H200: leave"):
        taken(request, "NVIDIA-H200")
    assert ENGINE.lack(Needs("cpu", "BF16", "INT8", 1)) is None
    assert ENGINE.lack(Needs("nvidia.com/gpu", "BF16", "INT8", 1)) is Lack.KV_CACHE
    assert ENGINE.lack(Needs("cpu", "BF16", "FP32", 1)) is Lack.KV_CACHE


def test_weights_are_made_int8_on_cpu_where_asked() -> None:
    request = replace(request_for(models.LLAMA_32_1B), weights_precision="INT8")
    assert taken(request, "cpu") == Precision("INT8", "BF16")
    assert taken(replace(request, kv_cache_precision="INT8"), "cpu") == Precision("INT8", "INT8")
    with pytest.raises(
        PrecisionError, match=r"FP32 with precision\.weights INT8: on cpu the engine"
    ):
        taken(replace(request, kv_cache_precision="FP32"), "cpu")
    for kv_cache in ("BF16", "INT8"):
        assert ENGINE.lack(Needs("cpu", "INT8", kv_cache, 1)) is None
    assert ENGINE.lack(Needs("cpu", "INT8", "FP32", 1)) is Lack.KV_CACHE
    assert ENGINE.lack(Needs("cpu", "FP8", "BF16", 1)) is Lack.WEIGHTS
    assert ENGINE.lack(Needs("nvidia.com/gpu", "INT8", "BF16", 1)) is Lack.WEIGHTS


def test_a_checkpoint_in_int8_that_the_engine_does_not_read_is_refused_on_cpu() -> None:
    model = replace(models.LLAMA_32_1B, checkpoint=FORMATS["INT8"])
    assert taken(request_for(model), "NVIDIA-H200") == Precision("INT8", "BF16")
    for asked in ("Auto", "INT8"):
        with pytest.raises(PrecisionError, match="weights in INT8 of this checkpoint"):
            taken(replace(request_for(model), weights_precision=asked), "cpu")


@pytest.mark.parametrize("weight_only", [False, True])
def test_a_checkpoint_in_int8_is_planned_as_the_engine_reads_it(*, weight_only: bool) -> None:
    request = request_for(in_int8(models.LLAMA_32_1B, weight_only=weight_only), CPU_NODE, rate=0.02)
    for asked in ("Auto", "INT8"):
        for kv_cache, kept in (("Auto", "BF16"), ("BF16", "BF16"), ("INT8", "INT8")):
            both = replace(request, weights_precision=asked, kv_cache_precision=kv_cache)
            assert taken(both, "cpu") == Precision("INT8", kept)
    assert taken(request, "NVIDIA-H200") == Precision("INT8", "BF16")
    found = plan(replace(request, objectives=Objectives(9, 1))).plan
    assert found is not None
    assert (found.accelerator, found.weights_precision, found.published) == ("cpu", "INT8", True)
    for label in ("cpu", "NVIDIA-H200"):
        with pytest.raises(PrecisionError, match=r"BF16: the checkpoint is in INT8, .* leave"):
            taken(replace(request, weights_precision="BF16"), label)


def test_int8_of_a_checkpoint_is_faster_in_products_only_where_activations_are_int8() -> None:
    shape = Shape(CPU_CORE, "cpu", "INT8", "BF16", 1, 1.0)
    steps = {
        name: step_time(model_facts(model), replace(shape, weights=weights, kv_cache="BF16"))
        for name, model, weights in (
            ("bf16", models.MISTRAL_7B, "BF16"),
            ("at load", models.MISTRAL_7B, "INT8"),
            ("w8a8", in_int8(models.MISTRAL_7B), "INT8"),
            ("w8a8 with head", in_int8(models.MISTRAL_7B, head=True), "INT8"),
            ("w8a16", in_int8(models.MISTRAL_7B, weight_only=True), "INT8"),
        )
    }
    assert steps["w8a8 with head"] == steps["at load"]
    assert steps["w8a8"].compute_per_token == steps["at load"].compute_per_token
    assert steps["w8a8"].read_fixed == steps["at load"].read_fixed
    # The head stays in BF16.
    assert steps["w8a8"].compute_per_sequence == steps["bf16"].compute_per_sequence
    assert steps["w8a8"].head_read == steps["bf16"].head_read
    assert steps["w8a16"].compute_per_token == steps["bf16"].compute_per_token
    # Without the sums of each output's numbers.
    assert 0.99 * steps["w8a8"].read_fixed < steps["w8a16"].read_fixed < steps["w8a8"].read_fixed


def test_bytes_of_a_checkpoint_in_int8_are_those_that_the_engine_holds() -> None:
    head, layers = 32768, 32 * (4096 + 2 * 1024 + 4096 + 2 * 14336 + 4096)
    numbers = 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    rest = 2 * 4096 * (32768 + 32 * 2 + 1)
    for weight_only, of_output in ((False, 8), (True, 4)):
        model = in_int8(models.MISTRAL_7B, weight_only=weight_only)
        facts = model_facts(model)
        expected = numbers + of_output * layers + 2 * 4096 * head + rest
        assert facts.weights_bytes("INT8 on cpu") == expected
        facts = model_facts(in_int8(models.MISTRAL_7B, weight_only=weight_only, head=True))
        assert facts.weights_bytes("INT8 on cpu") == expected + (of_output - 4096) * head
    # A head that is tied is the embedding, and stays as that is.
    tied = model_facts(in_int8(models.LLAMA_32_1B, head=True))
    assert tied.head_bytes("INT8 on cpu") == 2 * tied.head_parameters


def test_int8_on_cpu_takes_half_the_memory_and_fewer_cores() -> None:
    request = request_for(models.LLAMA_32_1B, CPU_NODE, rate=0.05, ttft=9, tpot=1, context=2048)
    wide = plan(replace(request, weights_precision="BF16")).plan
    small = plan(replace(request, weights_precision="INT8")).plan
    assert wide is not None
    assert small is not None
    assert (wide.weights_precision, wide.cpu_cores) == ("BF16", 2.0)
    assert (small.weights_precision, small.cpu_cores) == ("INT8", 1.0)
    assert plan(request).plan == wide
    facts = model_facts(models.LLAMA_32_1B)
    shape = Shape(CPU_CORE, "cpu", "INT8", "BF16", 1, 2.0)
    matrices = 16 * (2 * 2048 * 2048 + 2 * 2048 * 512 + 3 * 2048 * 8192)
    outputs = 16 * (2048 + 512 + 512 + 2048 + 8192 + 8192 + 2048)
    norms = (16 * 2 + 1) * 2048 * 2
    # For each output a scale and a sum of 4 bytes; the embedding is the head, which is INT8.
    expected = matrices + 8 * outputs + 128256 * (2048 + 8) + norms
    assert without_kv_cache(facts, shape, 64, 1).weights == expected


def test_an_embedding_of_its_own_stays_as_it_is() -> None:
    facts = model_facts(models.MISTRAL_7B)
    tied = facts.head_parameters
    assert facts.head_bytes("INT8 on cpu") == tied + 8 * 32768
    layers = facts.linear_bytes("INT8 on cpu")
    rest = facts.weights_bytes("INT8 on cpu") - layers - facts.head_bytes("INT8 on cpu")
    assert rest == 2 * tied + (32 * 2 + 1) * 4096 * 2


def test_each_rank_has_the_scales_of_what_is_divided_by_inputs() -> None:
    facts = model_facts(models.MISTRAL_7B)
    one, two = (facts.weights_bytes("INT8 on cpu", size) for size in (1, 2))
    norms = (32 * 2 + 1) * 4096 * 2
    copies = 32 * 2 * 4096 * 8
    assert 2 * two == one + norms + copies


def test_int8_is_the_way_out_where_bf16_is_too_slow_on_cpu() -> None:
    request = request_for(models.LLAMA_32_1B, CPU_NODE, rate=0.02, ttft=9, tpot=0.06, context=2048)
    result = plan(request, 40)
    assert not result.feasible
    (way,) = (one for one in result.alternatives if "precision" in one.change)
    assert way.change == "precision.weights: INT8"
    assert way.effect.startswith("1 replica of cpu×2, TTFT p95 ")
    found = plan(replace(request, weights_precision="INT8"), 40)
    assert found.feasible
    assert found.plan is not None
    assert found.plan.predicted.simulated is not None


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

"""The step times against a formula written a second time, from a model's published sizes."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_planner.accelerator import Accelerator, Efficiency
from plimsoll_planner.accelerators import CATALOGUE, find
from plimsoll_planner.model_facts import ModelFacts, model_facts
from plimsoll_planner.models.reader import read_model
from plimsoll_planner.performance.frontend_time import FrontendTime
from plimsoll_planner.performance.roofline import product_flops, step_time
from plimsoll_planner.performance.step_time import outside
from plimsoll_planner.search.shape import Shape
from tests.unit.plimsoll_planner import models

FACTS = model_facts(models.LLAMA_31_8B)
MIXTRAL = read_model(
    {
        "architectures": ["MixtralForCausalLM"],
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
        "max_position_embeddings": 32768,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    }
)
MISTRAL_WITH_WINDOW = read_model(
    {
        "architectures": ["MistralForCausalLM"],
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
        "max_position_embeddings": 32768,
        "sliding_window": 4096,
    }
)
EVERY = [model_facts(model) for model in (models.LLAMA_31_8B, MIXTRAL, MISTRAL_WITH_WINDOW)]
GPUS = [gpu for gpu in CATALOGUE if gpu.name != "cpu"]
Step = tuple[float, float, float, float]


def shape(name: str, size: int = 1, cores: float | None = None, weights: str = "") -> Shape:
    accelerator = find(name)
    assert accelerator is not None
    precision = accelerator.precisions[0]
    return Shape(accelerator, name, weights or precision, precision, size, cores)


def written_again(
    size: int, weight_bytes: int, peak: float, tokens: int, each: int, sequences: int
) -> float:
    """Llama-3.1-8B on H200 (4.8 TB/s, 989 TFLOP/s BF16, NVLink 450 GB/s one way): `sequences`
    with one new token each after `each - 1`, and one prompt of `tokens` from its beginning."""
    hidden, width, layers, heads, kv_heads, dim, vocabulary = 4096, 14336, 32, 32, 8, 128, 128256
    matrices = layers * (
        2 * hidden * heads * dim + 2 * hidden * kv_heads * dim + 3 * hidden * width
    )
    scales = layers * (heads * dim + 2 * kv_heads * dim + hidden + 2 * width + hidden) * 4
    new, emitted = sequences + tokens, sequences + (1 if tokens else 0)
    memory = 4.8e12 * 0.91
    products = 2 * matrices * new / size / (peak * 0.72)
    weights = (matrices * weight_bytes + (scales if weight_bytes == 1 else 0)) / size / memory
    layers_time = math.sqrt(products**2 + weights**2)
    head = 2 * hidden * vocabulary
    head_time = math.sqrt(
        (head * emitted / size / (989e12 * 0.72)) ** 2 + (head / size / memory) ** 2
    )
    context = sequences * each + tokens
    cached = 2 * layers * max(1, kv_heads // size) * dim * 2
    read = context * cached / (4.8e12 * 0.87)
    first_tokens = sequences * each + tokens  # one query over the context of each sequence
    pairs = sequences * each + tokens * tokens / 2
    attended = max(0, pairs - first_tokens) * 4 * layers * heads * dim / size / (989e12 * 0.54)
    values = 8 * hidden + (4 * (heads + 2 * kv_heads) * dim + 3 * width) / size
    activations = new * layers * values * 2 / memory
    ring = 2 * (size - 1) / size * hidden * 2 / (450e9 * 0.75)
    reduces = 2 * layers * (7e-6 + new * ring) if size > 1 else 0
    rest = 1.2e-3 + 4.3e-5 * layers + 2.1e-5 * emitted
    return layers_time + head_time + read + attended + activations + reduces + rest


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([("BF16", 2, 989e12), ("FP8", 1, 1979e12)]),
    st.integers(0, 8192),
    st.integers(1, 8192),
    st.integers(1, 512),
)
def test_a_step_is_the_formula(
    size: int, form: tuple[str, int, float], tokens: int, each: int, sequences: int
) -> None:
    name, weight_bytes, peak = form
    on = replace(shape("H200", size, weights=name), kv_cache="BF16")
    context = sequences * each
    found = step_time(FACTS, on)(
        sequences + tokens,
        sequences + (1 if tokens else 0),
        context + tokens,
        context + tokens * tokens / 2,
    )
    again = written_again(size, weight_bytes, peak, tokens, each, sequences)
    assert found == pytest.approx(again, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 1024),
    st.integers(1, 2048),
    st.integers(1, 64),
    st.sampled_from([0.5, 1, 4, 32]),
    st.sampled_from([("FP32", 4, 0.21e12), ("BF16", 2, 0.42e12), ("INT8", 1, 0.78e12)]),
)
def test_a_step_on_cpu_is_the_formula(
    tokens: int, each: int, sequences: int, cores: float, form: tuple[str, int, float]
) -> None:
    facts = model_facts(models.TINY)
    weights, width, peak = form
    slower, faster = 1 / min(1.0, cores), max(1.0, cores)
    new, emitted, context = sequences + tokens, sequences + 1, sequences * each + tokens
    pairs = sequences * each + tokens * tokens / 2
    memory, flops = min(21.5e9 * faster, 204.8e9), peak * faster * 0.8
    scales = 8 if weights == "INT8" else 0
    outputs = 6 * (256 + 128 + 128 + 192 + 512 + 512 + 192)
    read = facts.linear_parameters * width + outputs * scales
    head = 192 * 2048 * width + 2048 * scales
    seconds = math.hypot(2 * facts.linear_parameters * new / flops, read / (memory * 0.91))
    seconds += math.hypot(2 * 192 * 2048 * emitted / flops, head / (memory * 0.91))
    wide = 4 if weights == "FP32" else 2
    seconds += 2 * 6 * 4 * 32 * wide * context / (memory * 0.48)
    attended = (0.21e12 if weights == "FP32" else 0.42e12) * 0.4 * faster
    seconds += 4 * 6 * 8 * 32 * max(0.0, pairs - context) / attended
    on = shape("cpu", 1, cores, weights=weights)
    on = replace(on, kv_cache="FP32" if weights == "FP32" else "BF16")
    found = step_time(facts, on)(new, emitted, context, pairs)
    again = slower * (5e-4 + 6 * 2e-5 + 2e-4 * emitted + seconds)
    assert found == pytest.approx(again, rel=1e-9)


def test_ranks_on_cpu_only_add_communication() -> None:
    facts = model_facts(models.TINY)
    one, two, eight = (step_time(facts, shape("cpu", size, 2.0)) for size in (1, 2, 8))
    assert (two.compute_per_token, two.read_fixed) == (one.compute_per_token, one.read_fixed)
    assert two.per_context == one.per_context
    assert two.fixed - one.fixed == pytest.approx(2 * facts.layers * 2.5e-4)
    # More ranks than KV heads hold copies, and read them.
    assert eight.per_context == pytest.approx(8 / facts.kv_heads * one.per_context)


def test_kv_cache_is_not_shared_beyond_the_kv_heads() -> None:
    eight, sixteen = (step_time(FACTS, shape("H200", size)) for size in (8, 16))
    assert sixteen.per_context == eight.per_context


def test_int4_reads_less_and_computes_as_bf16() -> None:
    wide, narrow = (step_time(FACTS, shape("L40S", weights=form)) for form in ("BF16", "INT4"))
    assert narrow.compute_per_token == wide.compute_per_token
    assert narrow.read_fixed < 0.3 * wide.read_fixed


def test_fp8_on_a_gpu_without_it_computes_as_bf16() -> None:
    a100, h100, b200 = find("A100"), find("H100"), find("B200")
    assert a100 is not None
    assert h100 is not None
    assert b200 is not None
    assert product_flops(a100, "FP8") == product_flops(a100, "BF16")
    assert product_flops(h100, "FP8") == pytest.approx(2 * product_flops(h100, "BF16"), rel=1e-3)
    assert product_flops(b200, "NVFP4") == pytest.approx(9e15 * 0.6)
    with pytest.raises(ValueError, match="does not compute in BF16"):
        product_flops(replace(a100, peaks=replace(a100.peaks, bf16=None, fp16=None)), "BF16")


def test_few_tokens_read_few_experts() -> None:
    step = step_time(model_facts(MIXTRAL), shape("H200", 2))
    dense = replace(step, expert_read=0.0)
    extra = [step(n, n, n, n) - dense(n, n, n, n) for n in (1, 2, 64)]
    whole = step.expert_read
    assert extra[0] == pytest.approx(whole * 2 / 8, rel=0.01)
    assert extra[1] == pytest.approx(whole * (1 - (6 / 8) ** 2), rel=0.01)
    assert extra[2] >= whole


def test_a_window_bounds_what_is_read() -> None:
    step = step_time(model_facts(MISTRAL_WITH_WINDOW), shape("H200"))
    assert step.window == 4096
    assert step.decode(8, 8000) == step.decode(8, 4096) > step.decode(8, 4000)


def test_stages_share_compute_and_hand_over() -> None:
    one = shape("H200", 8)
    two = replace(one, pipeline_parallel_size=2)
    assert two.accelerators == 16
    alone, split = step_time(FACTS, one), step_time(FACTS, two)
    prompts = 8192.0, 1.0, 8192.0, 8192.0**2 / 2
    assert 0.5 * alone(*prompts) < split(*prompts) < 0.75 * alone(*prompts)
    # Decode of one sequence: every weight is read either way, and a stage more is waited for.
    assert split.decode(1, 1000) > alone.decode(1, 1000)


def test_expert_parallelism_sends_tokens_instead_of_adding_up() -> None:
    sharded = shape("H200", 8)
    whole = replace(sharded, expert_parallel=True)
    facts = model_facts(MIXTRAL)
    one, other = step_time(facts, sharded), step_time(facts, whole)
    assert other.expert_read == pytest.approx(1.25 * one.expert_read)
    assert other.per_token < one.per_token
    assert step_time(FACTS, whole) == step_time(FACTS, sharded)


def test_a_calibration_goes_before_the_constants() -> None:
    base = shape("H200", 2)
    measured = replace(base.accelerator, efficiency=Efficiency(0.36, 0.455, 0.375))
    plain = step_time(FACTS, base)
    slow = step_time(FACTS, replace(base, accelerator=measured))
    assert slow.compute_per_token == pytest.approx(2 * plain.compute_per_token)
    assert slow.per_pair == pytest.approx(2 * plain.per_pair)
    assert slow.read_fixed == pytest.approx(2 * plain.read_fixed)
    assert slow.per_context == pytest.approx(2 * plain.per_context)
    assert slow.per_token == pytest.approx(2 * plain.per_token)


@pytest.mark.parametrize(
    ("name", "cores", "slower"), [("cpu", 0.5, 2), ("cpu", 2, 1), ("L4", None, 1)]
)
def test_a_lone_request_waits_no_less_behind_a_measured_frontend(
    name: str, cores: float | None, slower: float
) -> None:
    base = shape(name, cores=cores)
    waits = base.accelerator.request_seconds
    plain = step_time(FACTS, base)
    assert plain.frontend is None
    assert outside(plain, 500) == plain.per_request == slower * waits
    for request in (waits / 4, 4 * waits):
        known = FrontendTime(request, 1e-6, 1e-4, 2e-4, 1e-5, 0.0, 0.0)
        found = step_time(FACTS, on_frontend(base, known))
        assert replace(found, frontend=None) == plain
        assert found.frontend is not None
        assert replace(found.frontend, latency=0.0) == known.scaled(slower)
        alone = slower * max(waits, known.before_first_token(0))
        assert outside(found, 0) == pytest.approx(alone)
        assert outside(found, 500) == pytest.approx(alone + slower * 500e-6)


def on_frontend(base: Shape, known: FrontendTime) -> Shape:
    return replace(base, accelerator=replace(base.accelerator, frontend=known))


work = st.tuples(st.floats(1, 8192), st.floats(1, 512), st.floats(1, 1e6), st.floats(1, 1e8))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(EVERY), st.sampled_from(GPUS), work, st.floats(1.0, 4.0))
def test_a_better_accelerator_is_never_slower(
    facts: ModelFacts, gpu: Accelerator, step: Step, factor: float
) -> None:
    precision = gpu.precisions[0]
    base = Shape(gpu, gpu.name, precision, precision, 2)
    plain = step_time(facts, base)(*step)
    assert gpu.link is not None
    for improved in (
        replace(gpu, bandwidth=gpu.bandwidth * factor),
        replace(gpu, peaks=gpu.peaks.scaled(factor)),
        replace(gpu, link=replace(gpu.link, bandwidth=gpu.link.bandwidth * factor)),
    ):
        assert step_time(facts, replace(base, accelerator=improved))(*step) <= plain


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(EVERY), st.sampled_from(GPUS), work, work)
def test_more_work_never_takes_less_time(
    facts: ModelFacts, gpu: Accelerator, step: Step, more: Step
) -> None:
    precision = gpu.precisions[0]
    time = step_time(facts, Shape(gpu, gpu.name, precision, precision))
    assert time(*(a + b for a, b in zip(step, more, strict=True))) >= time(*step)

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_planner.accelerators import find
from plimsoll_planner.inputs import AcceleratorPool
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.performance.memory import (
    BLOCK_SIZE,
    COMMUNICATION_BYTES,
    CPU_RESERVE_BYTES,
    GPU_RESERVE_BYTES,
    activation_bytes,
    block_bytes,
    reserve_bytes,
    state_bytes,
    usable_bytes,
    with_kv_cache,
    without_kv_cache,
)
from plimsoll_planner.planner import plan
from plimsoll_planner.search.shape import Shape
from plimsoll_runtime.core.cuda_graphs import graph_bytes
from tests.unit.plimsoll_planner import models, published
from tests.unit.plimsoll_planner.models import CPU_NODE, H200_NODE, request_for

FACTS = model_facts(models.LLAMA_31_8B)


def gpu(size: int = 1) -> Shape:
    accelerator = find("H200")
    assert accelerator is not None
    return Shape(accelerator, "NVIDIA-H200", "BF16", "BF16", size)


def cpu() -> Shape:
    accelerator = find("cpu")
    assert accelerator is not None
    return Shape(accelerator, "cpu", "FP32", "FP32", 1, 0.5)


def test_a_gpu_keeps_a_tenth_and_a_node_gives_what_is_asked() -> None:
    assert usable_bytes(gpu(), 1000) == 900
    assert usable_bytes(cpu(), 1000) == 1000


def test_parts_sum_up() -> None:
    memory = with_kv_cache(without_kv_cache(FACTS, gpu(), 2048, 64), block_bytes(FACTS, gpu()), 10)
    assert memory.total == memory.weights + memory.activations + memory.reserve + memory.kv_cache
    assert memory.weights == 2 * FACTS.parameters
    assert memory.reserve == GPU_RESERVE_BYTES + graph_bytes(32)
    assert memory.kv_cache == 10 * BLOCK_SIZE * 128 * 1024
    assert memory.kv_cache_tokens == 160


def test_weights_are_shared_and_rounded_up() -> None:
    shared = without_kv_cache(FACTS, gpu(4), 2048, 64)
    assert shared.weights == FACTS.weights_bytes("BF16", 4)
    assert shared.weights == pytest.approx(2 * FACTS.parameters / 4, rel=1e-3)
    alone = without_kv_cache(FACTS, gpu(), 2048, 64)
    assert shared.reserve - alone.reserve == COMMUNICATION_BYTES


def test_stages_share_weights_cache_and_graphs() -> None:
    one, two = gpu(2), replace(gpu(2), pipeline_parallel_size=2)
    assert without_kv_cache(FACTS, two, 2048, 64).weights == pytest.approx(
        without_kv_cache(FACTS, one, 2048, 64).weights / 2, abs=1
    )
    assert block_bytes(FACTS, two) == block_bytes(FACTS, one) / 2
    fewer = reserve_bytes(FACTS, one) - reserve_bytes(FACTS, two)
    assert fewer == graph_bytes(16)


def test_a_window_bounds_what_long_sequences_keep() -> None:
    """Gemma 3 27B: 10 layers keep all, 52 keep 1024 tokens and a block more."""
    facts = published.facts("google/gemma-3-27b-it")
    token = 2 * 16 * 128 * 2
    assert block_bytes(facts, gpu()) == block_bytes(facts, gpu(), 1040) == BLOCK_SIZE * 62 * token
    assert block_bytes(facts, gpu(), 10_400) == BLOCK_SIZE * (
        10 * token + 52 * math.ceil(token / 10)
    )
    # What the engine runs has no window, and takes what it takes.
    assert block_bytes(FACTS, gpu(), 1e6) == block_bytes(FACTS, gpu())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=20))
def test_blocks_of_the_mean_context_hold_sequences_of_any_lengths(lengths: list[int]) -> None:
    facts = published.facts("google/gemma-3-27b-it")
    mean = sum(lengths) / len(lengths)
    planned = block_bytes(facts, gpu(), mean) / BLOCK_SIZE * sum(lengths)
    assert planned >= sum(facts.kv_bytes(length, "BF16") for length in lengths) * (1 - 1e-9)


def test_linear_attention_keeps_a_state_of_each_sequence() -> None:
    """Qwen3.5 27B: a matrix for each value head, and the tail of the convolution, in FP32."""
    facts = published.facts("Qwen/Qwen3.5-27B")
    each = facts.kv_bytes(0, "BF16")
    assert each > 100 * 2**20
    one, many = (without_kv_cache(facts, gpu(), 2048, n).reserve for n in (1, 64))
    assert many - one == 63 * each
    assert state_bytes(facts, gpu(2), 64) == 64 * each // 2
    assert state_bytes(FACTS, gpu(), 64) == 0


def test_activations_beside_quantized_weights_are_as_wide_as_without() -> None:
    plain = activation_bytes(FACTS, gpu(), 512, 1)
    for weights in ("FP8", "INT4", "NVFP4"):
        assert activation_bytes(FACTS, replace(gpu(), weights=weights), 512, 1) == plain


def test_activations_grow_with_tokens_and_sequences() -> None:
    least = activation_bytes(FACTS, gpu(), 512, 1)
    assert activation_bytes(FACTS, gpu(), 1024, 1) > least
    assert activation_bytes(FACTS, gpu(), 512, 2) - least == 128256 * 4 * 3
    assert activation_bytes(FACTS, gpu(2), 512, 1) < least


def test_cpu_replicas_have_their_own_reserve() -> None:
    assert without_kv_cache(model_facts(models.TINY), cpu(), 512, 8).reserve == CPU_RESERVE_BYTES


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 64),
    st.sampled_from([64, 128]),
    st.sampled_from([(8, 8), (8, 2), (16, 4), (32, 8)]),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([("BF16", 2), ("FP32", 4)]),
    st.integers(16, 16384),
    st.integers(1, 512),
)
def test_a_replica_holds_what_the_formula_says(
    layers: int,
    dim: int,
    heads: tuple[int, int],
    size: int,
    form: tuple[str, int],
    tokens: int,
    sequences: int,
) -> None:
    """Written again from tensor shapes, for any Llama: what is not divided is held by each rank."""
    (queries, kv_heads), (name, width) = heads, form
    hidden, columns, vocabulary = queries * dim, 4096, 32000
    facts = model_facts(models.llama(hidden, columns, layers, queries, kv_heads, dim, vocabulary))
    on = replace(gpu(size), weights=name, kv_cache=name)
    mine, held = queries // size, max(1, kv_heads // size)
    layer = 2 * hidden * mine * dim + 2 * hidden * held * dim + 3 * hidden * columns // size
    weights = layers * (layer + 2 * hidden) + hidden + 2 * vocabulary * hidden // size
    stream = 4 * hidden + 3 * columns / size + (mine + 2 * max(1, kv_heads / size)) * dim
    logits = 3 * sequences * vocabulary * 4
    reserve = 768 * 2**20 + layers * 8 * 2**20 + (384 * 2**20 if size > 1 else 0)
    found = without_kv_cache(facts, on, tokens, sequences)
    assert found.weights == weights * width
    assert found.activations == pytest.approx(tokens * stream * width + logits, abs=1)
    assert found.reserve == reserve
    assert block_bytes(facts, on) == 16 * 2 * layers * held * dim * width


@pytest.mark.parametrize(
    ("pool", "label"), [(CPU_NODE, "cpu"), (H200_NODE, "NVIDIA-H200")], ids=["cpu", "gpu"]
)
def test_what_is_to_be_kept_free_is_the_pods_or_leaves_less_kv_cache(
    pool: AcceleratorPool, label: str
) -> None:
    request = request_for(models.TINY, pool, rate=1, context=1024)
    more = 2**30
    plain, kept = plan(request).plan, plan(replace(request, reserves=((label, more),))).plan
    other = plan(replace(request, reserves=(("NVIDIA-L4", more),))).plan
    assert plain is not None
    assert kept is not None
    assert other == plain
    if label == "cpu":
        assert kept.memory_bytes == plain.memory_bytes + more
        assert kept.kv_cache_bytes == plain.kv_cache_bytes
    else:
        assert abs(plain.kv_cache_bytes - kept.kv_cache_bytes - more) < 2**20

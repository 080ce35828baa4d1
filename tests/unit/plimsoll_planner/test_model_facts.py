from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_planner.model_facts import CHECKPOINT, model_facts
from plimsoll_planner.models.mlp import Experts
from plimsoll_planner.models.model import Model
from plimsoll_planner.models.reader import read_model
from tests.unit.plimsoll_planner import models, published


@pytest.mark.parametrize(
    ("config", "published"),
    [
        # Tensor element counts of the published safetensors files.
        (models.LLAMA_2_7B, 6_738_415_616),
        (models.LLAMA_2_13B, 13_015_864_320),
        (models.LLAMA_2_70B, 68_976_648_192),
        (models.LLAMA_31_8B, 8_030_261_248),
        (models.LLAMA_31_70B, 70_553_706_496),
        (models.LLAMA_31_405B, 405_853_388_800),
        (models.LLAMA_32_1B, 1_235_814_400),
        (models.LLAMA_32_3B, 3_212_749_824),
        (models.MISTRAL_7B, 7_248_023_552),
        (models.SMOLLM2_135M, 134_515_008),
    ],
)
def test_parameters_are_those_published(config: Model, published: int) -> None:
    assert model_facts(config).parameters == published


def test_kv_bytes_per_token_of_llama_31_8b_are_128_kib() -> None:
    # 2 · 32 layers · 8 KV heads · 128 · 2 bytes
    assert model_facts(models.LLAMA_31_8B).kv_bytes_per_token("BF16") == 128 * 1024


def test_kv_cache_of_llama_2_70b_at_4096_is_1_34_gb() -> None:
    # The figure of 1.34 GB per sequence that guides give for 80 layers of 8 KV heads.
    assert model_facts(models.LLAMA_2_70B).kv_bytes_per_token("BF16") * 4096 == 1_342_177_280


@pytest.mark.parametrize(("size", "share"), [(1, 8), (2, 4), (4, 2), (8, 1), (16, 1), (32, 1)])
def test_kv_heads_are_shared_then_replicated(size: int, share: int) -> None:
    facts = model_facts(models.LLAMA_31_8B)
    assert facts.kv_bytes_per_token("BF16", size) == 2 * 32 * share * 128 * 2


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        (models.LLAMA_31_8B, [1, 2, 4, 8, 16, 32]),
        (models.LLAMA_32_3B, [1, 2, 4, 8]),
        (models.SMOLLM2_135M, [1, 3]),
        (models.TINY, [1, 2, 4, 8]),
    ],
)
def test_sizes_that_divide_heads_and_mlp(config: Model, sizes: list[int]) -> None:
    facts = model_facts(config)
    assert [size for size in range(1, 33) if facts.divides_into(size)] == sizes


def test_weights_take_their_format() -> None:
    facts = model_facts(models.LLAMA_31_8B)
    assert facts.weights_bytes("BF16") == 2 * facts.parameters
    assert facts.weights_bytes("FP32") == 4 * facts.parameters


def test_flops_per_token_are_twice_the_multiplied_weights() -> None:
    facts = model_facts(models.LLAMA_31_8B)
    embedding = 128256 * 4096
    norms = 65 * 4096
    assert facts.flops_per_token == 2 * (facts.parameters - 2 * embedding - norms)
    assert facts.flops_per_logits == 2 * embedding
    assert facts.attention_flops_per_pair == 4 * 32 * 32 * 128


def test_biases_are_counted() -> None:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 32,
        "vocab_size": 2048,
    }
    plain = model_facts(read_model(config)).parameters
    attention = model_facts(read_model({**config, "attention_bias": True})).parameters - plain
    mlp = model_facts(read_model({**config, "mlp_bias": True})).parameters - plain
    assert attention == 6 * (8 * 32 + 2 * 4 * 32 + 192)
    assert mlp == 6 * (2 * 512 + 192)


@pytest.mark.parametrize(
    ("kv_heads", "layers", "unit", "at_4k", "at_128k"),
    [
        # A guide's table of KV cache per sequence: Llama 3 8B and 70B, the latter without grouped
        # queries, GPT-3 175B. The guide mixes units, and rounds the last figure up from 576.
        (8, 32, 2**30, 0.5, 16),
        (8, 80, 1e9, 1.34, 42.9),
        (64, 80, 1e9, 10.7, 343.6),
        (96, 96, 2**30, 18, 590),
    ],
)
def test_kv_cache_of_a_sequence(
    kv_heads: int, layers: int, unit: float, at_4k: float, at_128k: float
) -> None:
    facts = model_facts(models.llama(8192, 28672, layers, max(64, kv_heads), kv_heads, 128, 32000))
    assert facts.kv_bytes(4096, "FP16") / unit == pytest.approx(at_4k, rel=0.005)
    assert facts.kv_bytes(131072, "FP16") / unit == pytest.approx(at_128k, rel=0.025)


def test_a_window_holds_no_more_than_it_is_wide() -> None:
    facts = published.facts("google/gemma-3-27b-it")
    full, sliding = sorted(facts.attention, key=lambda kind: kind.count)
    assert (full.count, full.attention.window) == (10, None)
    assert (sliding.count, sliding.attention.window) == (52, 1024)
    token = 2 * 16 * 128 * 2
    assert facts.kv_bytes_per_token("BF16") == 62 * token
    assert facts.kv_bytes(1024, "BF16") == 1024 * 62 * token
    assert facts.kv_bytes(131072, "BF16") == (10 * 131072 + 52 * 1024) * token


def test_latent_attention_caches_one_latent_that_is_not_shared_out() -> None:
    facts = published.facts("deepseek-ai/DeepSeek-V3")
    # 512 of the latent and 64 of the position (arXiv 2412.19437), in each of 61 layers.
    assert facts.kv_bytes_per_token("BF16") == 61 * 576 * 2
    assert facts.kv_bytes_per_token("BF16", 8) == 61 * 576 * 2
    assert facts.kv_bytes_per_token("INT8") == 61 * (576 + 2 * 4)
    assert facts.kv_bytes_per_token("FP8") == 61 * 576
    assert facts.attention_flops_per_pair == 61 * 2 * 128 * (192 + 128)
    assert facts.decode_attention_flops_per_pair == 61 * 2 * 128 * (2 * 512 + 64)


def test_an_index_caches_a_key_of_its_own() -> None:
    facts = published.facts("deepseek-ai/DeepSeek-V3.2")
    assert facts.kv_bytes_per_token("BF16") == 61 * (576 + 128) * 2
    # Of GLM-5.2's layers, three in four use the index of one before.
    indexed = sum(
        kind.count
        for kind in published.facts("zai-org/GLM-5.2").attention
        if kind.attention.cached_values() == 576 + 128
    )
    assert indexed == 21


def test_linear_attention_keeps_a_state_instead() -> None:
    facts = published.facts("Qwen/Qwen3.5-27B")
    per_token = 16 * 2 * 4 * 256 * 2
    assert facts.kv_bytes_per_token("BF16") == per_token
    state = 48 * (48 * 128 * 128 + (2 * 16 * 128 + 48 * 128) * 3) * 4
    assert facts.kv_bytes(1, "BF16") == per_token + state
    assert facts.kv_bytes(100_000, "BF16") == 100_000 * per_token + state


def test_experts_touched_are_those_that_a_batch_needs() -> None:
    experts, layers = published.facts("mistralai/Mixtral-8x7B-v0.1").experts[0]
    assert (experts.count, experts.per_token, layers) == (8, 2, 32)
    assert experts.touched(0) == 0
    assert experts.touched(1) == pytest.approx(2)
    assert experts.touched(2) == pytest.approx(8 * (1 - 0.75**2))
    assert experts.touched(1000) == pytest.approx(8)


def test_experts_touched_are_those_of_a_simulated_router() -> None:
    experts, tokens, trials = Experts(16, 3, 64), 7, 2000
    random = Random(0)
    drawn = [
        len({expert for _ in range(tokens) for expert in random.sample(range(16), 3)})
        for _ in range(trials)
    ]
    assert sum(drawn) / trials == pytest.approx(experts.touched(tokens), rel=0.02)


@settings(max_examples=40)
@given(st.sampled_from(published.NAMES), st.integers(1, 4096), st.integers(1, 64))
def test_more_tokens_never_need_less(name: str, tokens: int, more: int) -> None:
    facts = published.facts(name)
    assert 0 <= facts.experts_touched(tokens) <= facts.experts_touched(tokens + more) <= 1
    assert facts.kv_bytes(tokens, "BF16") <= facts.kv_bytes(tokens + more, "BF16")
    assert facts.kv_bytes(tokens, "FP8") <= facts.kv_bytes(tokens, "BF16")


@settings(max_examples=40)
@given(
    st.sampled_from(published.NAMES), st.sampled_from(["BF16", "FP8", "INT4", "Q4_K_M", CHECKPOINT])
)
def test_more_accelerators_never_hold_more_each(name: str, precision: str) -> None:
    facts = published.facts(name)
    whole = facts.weights_bytes(precision)
    shares = [facts.weights_bytes(precision, size) for size in (1, 2, 4, 8, 16)]
    assert shares[0] == whole
    assert shares == sorted(shares, reverse=True)
    # What is copied comes on top of an even share.
    assert all(share * size >= whole for share, size in zip(shares, (1, 2, 4, 8, 16), strict=True))
    caches = [facts.kv_bytes(5000, "BF16", size) for size in (1, 2, 4, 8, 16)]
    assert caches == sorted(caches, reverse=True)


@settings(max_examples=30)
@given(st.sampled_from(published.NAMES), st.sampled_from(["BF16", "FP8", "INT4", "Q4_K_M"]))
def test_parts_sum_to_the_whole(name: str, precision: str) -> None:
    facts = published.facts(name)
    tied = facts.model.tied
    read = [facts.linear_bytes(precision), facts.expert_bytes(precision)]
    assert sum(read) + facts.head_bytes(precision) < facts.weights_bytes(precision)
    assert facts.parameters == sum(matrix.parameters for matrix in facts.matrices)
    assert facts.active_parameters <= facts.parameters
    assert (facts.expert_parameters > 0) == bool(facts.experts)
    assert facts.other_parameters >= (0 if tied else facts.head_parameters)


def test_a_gated_attention_has_wider_queries() -> None:
    layer = published.facts("Qwen/Qwen3.5-27B").model.layers[3]
    queries = layer.attention.matrices(5120)[0]
    assert (queries.rows, queries.columns) == (2 * 24 * 256, 5120)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mistralai/Mixtral-8x7B-v0.1", [1, 2, 4, 8, 16, 32]),
        ("openai/gpt-oss-120b", [1, 2, 4, 8, 16, 32]),
        ("deepseek-ai/DeepSeek-V3", [1, 2, 4, 8, 16, 32]),
        ("Qwen/Qwen2.5-0.5B-Instruct", [1, 2]),
        ("tiiuae/falcon-7b", [1]),
    ],
)
def test_sizes_that_divide_published_models(name: str, sizes: list[int]) -> None:
    found = [size for size in range(1, 33) if published.facts(name).divides_into(size)]
    assert found == sizes

import pytest

from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.models.model import Model
from plimsoll_planner.models.reader import read_model
from tests.unit.plimsoll_planner import models


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

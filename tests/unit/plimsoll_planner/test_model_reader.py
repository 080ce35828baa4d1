"""config.json is foreign input: what is wrong in it is told, and nothing else happens."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.models.families import FAMILIES
from plimsoll_planner.models.fields import Fields, UnknownModelError
from plimsoll_planner.models.layout import LayerKind, layer_kinds
from plimsoll_planner.models.reader import MAX_LAYERS, family_name, read_model
from tests.unit.plimsoll_planner.published import NAMES, config

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "vocab_size": 100,
}
MIXTRAL = {
    **LLAMA,
    "architectures": ["MixtralForCausalLM"],
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architectures": []}, "architectures is missing or empty"),
        ({"architectures": "LlamaForCausalLM"}, "architectures must be a list"),
        ({"architectures": ["T5ForConditionalGeneration"]}, "not of the [0-9]+ families"),
        ({"hidden_size": None}, "hidden_size or n_embd or d_model is missing"),
        ({"hidden_size": 0}, "hidden_size must be a whole number from 1 to 2147483647, not 0"),
        ({"hidden_size": -4096}, "not -4096"),
        ({"hidden_size": True}, "not True"),
        ({"hidden_size": 4096.0}, "not 4096.0"),
        ({"hidden_size": float("nan")}, "not nan"),
        ({"hidden_size": 10**30}, "not 1000000"),
        ({"vocab_size": "32000"}, "vocab_size must be a whole number .* not '32000'"),
        ({"num_hidden_layers": MAX_LAYERS + 1}, "4097 layers; the most is 4096"),
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple of .* 3"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false, not 'yes'"),
        ({"layer_types": ["full_attention"]}, "layer_types has 1 entries for 4 layers"),
        ({"layer_types": ["mamba"] * 4}, "layer_types names 'mamba'; known are full_attention"),
        ({"quantization_config": {"quant_method": "hqq"}}, "quant_method 'hqq' is not known"),
        ({"quantization_config": [8]}, "quantization_config must be an object"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 5}}, "bits is 5; known"),
        (
            {"quantization_config": {"quant_method": "modelopt", "quant_algo": "MIXED"}},
            "quant_algo 'MIXED' is not known",
        ),
        ({"torch_dtype": 16}, "torch_dtype must be a string, not 16"),
    ],
)
def test_what_is_wrong_is_told(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UnknownModelError, match=said):
        read_model({**LLAMA, **changes})


def test_a_token_cannot_have_more_experts_than_there_are() -> None:
    with pytest.raises(UnknownModelError, match="num_experts_per_tok 9 is more than the 8 experts"):
        read_model({**MIXTRAL, "num_experts_per_tok": 9})


@pytest.mark.parametrize("name", NAMES)
def test_equal_configurations_give_equal_text(name: str) -> None:
    # The operator hashes it to see whether what a plan was made from has changed.
    model = read_model(config(name))
    assert repr(model) == repr(read_model(config(name)))
    assert hash(model) == hash(read_model(config(name)))
    assert not any(mark in repr(model) for mark in ("set(", "{", " at 0x"))


def test_a_long_value_is_cut() -> None:
    with pytest.raises(UnknownModelError) as caught:
        read_model({**LLAMA, "hidden_size": "9" * 10_000})
    assert len(str(caught.value)) < 200


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)


@settings(max_examples=60)
@given(data=st.data(), name=st.sampled_from(NAMES))
def test_no_value_of_any_field_raises_anything_else(data: st.DataObject, name: str) -> None:
    whole = config(name)
    field = data.draw(st.sampled_from(sorted(whole)))
    value = data.draw(_JSON)
    with suppress(UnknownModelError):
        assert model_facts(read_model({**whole, field: value})).weights_bytes("BF16") > 0


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("LlamaForCausalLM", "llama"),
        ("Qwen2MoeForCausalLM", "qwen2moe"),
        ("GPT2LMHeadModel", "gpt2"),
        ("qwen3_5_moe_text", "qwen35moe"),
        ("DeepseekV32ForCausalLM", "deepseekv32"),
    ],
)
def test_families_are_found_by_architecture_and_model_type(name: str, key: str) -> None:
    assert family_name(name) == key
    assert key in FAMILIES


def test_the_language_model_within_a_larger_one_is_read() -> None:
    text = {key: value for key, value in LLAMA.items() if key != "architectures"}
    outer = {
        "architectures": ["LlavaForConditionalGeneration"],
        "text_config": {**text, "model_type": "qwen2"},
        "tie_word_embeddings": True,
    }
    model = read_model(outer)
    assert model.architecture == "LlavaForConditionalGeneration"
    assert model.tied
    assert model.hidden_size == 64
    assert model.layers[0].vectors == 2 * 64 + 3 * 64


def test_what_a_config_leaves_out_is_as_in_its_family() -> None:
    gemma = read_model({**LLAMA, "architectures": ["GemmaForCausalLM"]})
    assert gemma.tied
    assert gemma.layers[0].attention.head_dim == 256
    assert not read_model({**gemma_config(), "tie_word_embeddings": False}).tied


def gemma_config() -> dict[str, Any]:
    return {**LLAMA, "architectures": ["GemmaForCausalLM"]}


def kinds(family: str, **fields: Any) -> str:
    """F for full attention, s for sliding, l for linear."""
    marks = {"full_attention": "F", "sliding_attention": "s", "linear_attention": "l"}
    found = layer_kinds(FAMILIES[family], Fields(fields), 12)
    return "".join(marks[kind.attention] for kind in found)


@pytest.mark.parametrize(
    ("family", "fields", "expected"),
    [
        ("llama", {}, "FFFFFFFFFFFF"),
        ("mistral", {}, "ssssssssssss"),
        ("gemma2", {}, "sFsFsFsFsFsF"),
        ("gemma3", {}, "sssssFsssssF"),
        ("gemma3", {"sliding_window_pattern": 3}, "ssFssFssFssF"),
        ("exaone4", {"sliding_window_pattern": "LLLG"}, "sssFsssFsssF"),
        ("gptoss", {}, "sFsFsFsFsFsF"),
        ("llama4", {"no_rope_layer_interval": 4}, "sssFsssFsssF"),
        ("qwen2", {"use_sliding_window": False, "sliding_window": 4096}, "FFFFFFFFFFFF"),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 9}, "FFFFFFFFFsss"),
        ("qwen3next", {"full_attention_interval": 4}, "lllFlllFlllF"),
        ("llama", {"layer_types": ["chunked_attention", "full_attention"] * 6}, "sFsFsFsFsFsF"),
    ],
)
def test_which_layers_slide(family: str, fields: dict[str, Any], expected: str) -> None:
    assert kinds(family, **fields) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "oooooooooooo"),
        ({"n_routed_experts": 8}, "xxxxxxxxxxxx"),
        ({"n_routed_experts": 8, "first_k_dense_replace": 3}, "oooxxxxxxxxx"),
        ({"n_routed_experts": 8, "interleave_moe_layer_step": 2}, "oxoxoxoxoxox"),
        ({"num_experts": 8, "mlp_only_layers": [0, 5]}, "oxxxxoxxxxxx"),
        ({"num_experts": 8, "mlp_layer_types": ["dense"] * 4 + ["sparse"] * 8}, "ooooxxxxxxxx"),
    ],
)
def test_which_layers_have_experts(fields: dict[str, Any], expected: str) -> None:
    found = layer_kinds(FAMILIES["deepseekv3"], Fields(fields), 12)
    assert "".join("x" if kind.sparse else "o" for kind in found) == expected


def test_which_layers_have_an_index() -> None:
    types = ["full", "shared"] * 2
    found = layer_kinds(FAMILIES["glmmoedsa"], Fields({"indexer_types": types}), 4)
    assert [kind.indexed for kind in found] == [True, False, True, False]
    assert found[0] == LayerKind("full_attention", sparse=False, indexed=True)

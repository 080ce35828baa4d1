"""What config.json says, as published models of each family write it."""

from typing import Any

import pytest

from plimsoll_runtime.core.model_config import (
    SUPPORTED_ARCHITECTURES,
    ModelConfig,
    UnsupportedModelError,
)

SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "max_position_embeddings": 8192,
}


def read(architecture: str, **fields: Any) -> ModelConfig:
    return ModelConfig.from_hf({"architectures": [architecture], **SHAPE, **fields})


@pytest.mark.parametrize(
    ("architecture", "fields", "biases", "qk_norm", "head_dim"),
    [
        ("LlamaForCausalLM", {}, (False, False), False, 16),
        ("LlamaForCausalLM", {"attention_bias": True}, (True, True), False, 16),
        ("MistralForCausalLM", {"sliding_window": None}, (False, False), False, 16),
        ("Qwen2ForCausalLM", {"sliding_window": 4096}, (True, False), False, 16),
        ("Qwen3ForCausalLM", {}, (False, False), True, 128),
        ("Qwen3ForCausalLM", {"attention_bias": True, "head_dim": 32}, (True, True), True, 32),
    ],
)
def test_how_families_differ(
    architecture: str,
    fields: dict[str, Any],
    biases: tuple[bool, bool],
    qk_norm: bool,
    head_dim: int,
) -> None:
    found = read(architecture, **fields)
    assert (found.qkv_bias, found.output_bias) == biases
    assert (found.qk_norm, found.head_dim) == (qk_norm, head_dim)


@pytest.mark.parametrize("architecture", SUPPORTED_ARCHITECTURES)
def test_only_llamas_mlp_may_have_biases(architecture: str) -> None:
    found = read(architecture, mlp_bias=True, sliding_window=None)
    assert found.mlp_bias == (architecture == "LlamaForCausalLM")


@pytest.mark.parametrize(
    ("architecture", "fields"),
    [
        ("MistralForCausalLM", {"sliding_window": 4096}),
        ("MistralForCausalLM", {}),  # transformers' own default is a window of 4096
        ("Qwen2ForCausalLM", {"use_sliding_window": True, "sliding_window": 4096}),
        ("Qwen3ForCausalLM", {"use_sliding_window": True, "sliding_window": 2048}),
    ],
)
def test_attention_in_windows_is_refused(architecture: str, fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedModelError, match=r"sliding_window \d+ is below max_position"):
        read(architecture, **fields)


def test_a_window_that_holds_every_sequence_is_none() -> None:
    found = read("MistralForCausalLM", sliding_window=8192)
    assert found.max_position_embeddings == 8192


def test_other_architectures_are_refused_with_those_that_are_not() -> None:
    for name in ("MixtralForCausalLM", "GPT2LMHeadModel", ""):
        with pytest.raises(UnsupportedModelError) as told:
            read(name)
        for supported in SUPPORTED_ARCHITECTURES:
            assert supported in str(told.value)

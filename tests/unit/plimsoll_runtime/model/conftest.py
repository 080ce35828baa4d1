"""Small random Llamas and their relatives on disk, as transformers saves them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

BASE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 97,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "gqa": {},
    "mha": {"num_key_value_heads": 4},
    "mqa": {"num_key_value_heads": 1},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "llama3-rope": {"rope_parameters": LLAMA3},
    "linear-rope": {
        "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    },
    "wide-heads": {"head_dim": 24},
    "high-theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    "mistral": {"sliding_window": None, "head_dim": 12},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 16},
    "qwen3-biases": {"head_dim": 8, "attention_bias": True},
}
FAMILIES: dict[str, tuple[type[PreTrainedConfig], type[PreTrainedModel]]] = {
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}

# These models are too small to share among threads.
torch.set_num_threads(1)

Saved = tuple[PreTrainedModel, Path]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Saved]:
    """`saved(variant)`: the transformers model, and the folder that it was saved to."""
    made: dict[str, Saved] = {}

    def get(variant: str) -> Saved:
        if variant not in made:
            torch.manual_seed(sorted(VARIANTS).index(variant))
            # Initial weights far from zero make tokens differ and mistakes show.
            family = variant.partition("-")[0]
            make_config, make_model = FAMILIES.get(family, (LlamaConfig, LlamaForCausalLM))
            config = make_config(**{**BASE, **VARIANTS[variant]}, initializer_range=0.3)
            model = make_model(config).eval()
            for name, parameter in model.named_parameters():
                if name.endswith(("bias", "norm.weight")):
                    torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
            folder = tmp_path_factory.mktemp(variant)
            model.save_pretrained(folder, safe_serialization=True)
            made[variant] = (model, folder)
        return made[variant]

    return get

"""Parameters against transformers' own implementation of each family, built without weights."""

from typing import Any

import pytest
import torch
import transformers.models.llama.modeling_llama  # noqa: F401 - slow, so not on a test's clock
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.models.families import FAMILIES
from plimsoll_planner.models.reader import family_name, read_model

SMALL = {
    "hidden_size": 96,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "vocab_size": 333,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED = {**SMALL, "intermediate_size": 160, "num_key_value_heads": 3}
ROUTED = {**GROUPED, "num_experts_per_tok": 2}
LATENT = {
    **ROUTED,
    "num_key_value_heads": 6,
    "moe_intermediate_size": 56,
    "n_routed_experts": 9,
    "n_shared_experts": 2,
    "first_k_dense_replace": 2,
    "kv_lora_rank": 40,
    "q_lora_rank": 24,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("llama", {**GROUPED, "attention_bias": True, "mlp_bias": True}),
    ("llama", {**GROUPED, "head_dim": 40, "tie_word_embeddings": True}),
    ("mistral", GROUPED),
    ("mixtral", {**ROUTED, "num_local_experts": 7}),
    ("qwen2", {**GROUPED, "tie_word_embeddings": True}),
    (
        "qwen2_moe",
        {
            **ROUTED,
            "num_experts": 5,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 48,
            "decoder_sparse_step": 2,
            "mlp_only_layers": [3],
        },
    ),
    ("qwen3", {**GROUPED, "head_dim": 32, "attention_bias": True}),
    ("qwen3_moe", {**ROUTED, "num_experts": 5, "moe_intermediate_size": 32}),
    (
        "qwen3_next",
        {
            **ROUTED,
            "num_experts": 5,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 40,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 24,
        },
    ),
    ("gemma", {**GROUPED, "head_dim": 48}),
    ("gemma2", {**GROUPED, "head_dim": 48, "attention_bias": True}),
    ("gemma3_text", {**GROUPED, "head_dim": 48}),
    ("phi", {**GROUPED, "num_key_value_heads": 6}),
    ("phi3", GROUPED),
    ("phimoe", {**ROUTED, "num_local_experts": 4, "attention_bias": True, "lm_head_bias": True}),
    ("deepseek_v2", {**LATENT, "q_lora_rank": None}),
    ("deepseek_v3", {**LATENT, "attention_bias": True}),
    ("gpt_oss", {**ROUTED, "head_dim": 20, "num_local_experts": 6}),
    ("glm4_moe", {**LATENT, "num_key_value_heads": 3, "use_qk_norm": True, "attention_bias": True}),
    ("glm4", {**GROUPED, "attention_bias": True}),
    ("gpt2", {**SMALL, "n_positions": 77}),
    ("gpt_bigcode", {**SMALL, "n_positions": 77, "multi_query": True}),
    ("gptj", {**SMALL, "rotary_dim": 8}),
    ("gpt_neox", {**SMALL, "intermediate_size": 160}),
    ("opt", {**SMALL, "ffn_dim": 160, "word_embed_proj_dim": 96, "max_position_embeddings": 77}),
    ("bloom", SMALL),
    ("mpt", {**SMALL, "n_heads": 6, "d_model": 96, "n_layers": 5}),
    ("arcee", {**GROUPED, "mlp_bias": True}),
    ("granite", {**GROUPED, "attention_bias": True, "mlp_bias": True}),
    ("granitemoe", {**ROUTED, "num_local_experts": 4}),
    ("olmo", GROUPED),
    ("olmo3", GROUPED),
    ("exaone4", GROUPED),
    ("ernie4_5", {**GROUPED, "use_bias": True}),
    ("seed_oss", {**GROUPED, "attention_bias": True, "attention_out_bias": False}),
    ("smollm3", GROUPED),
    ("stablelm", {**GROUPED, "use_qkv_bias": True, "qk_layernorm": True}),
    ("cohere2", GROUPED),
    ("starcoder2", {**GROUPED, "use_bias": True}),
    ("nemotron", {**GROUPED, "head_dim": 16}),
]


@pytest.mark.parametrize(("model_type", "sizes"), CASES, ids=[case[0] for case in CASES])
def test_parameters_are_those_of_transformers(model_type: str, sizes: dict[str, Any]) -> None:
    config = CONFIG_MAPPING[model_type](**sizes)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    model.tie_weights()
    distinct = {id(each): each.numel() for each in model.parameters()}
    corrections = sum(
        buffer.numel() for name, buffer in model.named_buffers() if "correction" in name
    )
    architecture = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]
    ours = read_model({**config.to_dict(), "architectures": [architecture]})
    assert model_facts(ours).parameters == sum(distinct.values()) + corrections


def test_families_are_named_as_in_transformers() -> None:
    known = {family_name(model_type) for model_type in CONFIG_MAPPING}
    assert sorted(set(FAMILIES) - known) == ["mimo"], "no longer an implementation to compare with"

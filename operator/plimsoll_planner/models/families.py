"""What sets the families of models apart, beyond the sizes that a config.json gives.

The traits are those of each family's implementation in transformers, which the tests compare with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class QkNorm(Enum):
    """What queries and keys are normalized over, if at all."""

    NONE = "not"
    HEAD = "each head, with one weight vector for all of them"
    ALL = "all heads, with weights as many as they are wide together"


@dataclass(frozen=True)
class Family:
    """Traits of one family. A bias named by a string is as that field of config.json says.

    `norms` counts the norms as wide as the residual stream in a layer, each of `norm_vectors`
    weight vectors (two with a bias, none if without weights), `last_norm` those after the last
    layer. `full_every` says which layers attend to everything where there is a window: each so
    many-th one, 0 for none, 1 for all. Rows of a learned position embedding beyond the longest
    context are `extra_positions`, None where positions are not learned. `expert_bias` holds for
    the biases of the experts, `router_vectors` counts numbers per expert in the router,
    `expert_norms` vectors as wide as the residual stream that come with experts, such as further
    norms or the gate of shared ones, `scalars` single numbers in a layer. Where
    `qk_norm_field` names a field of config.json, `qk_norm` holds if that is true.
    """

    defaults: Mapping[str, Any] = field(default_factory=dict)
    norms: int = 2
    norm_vectors: int = 1
    last_norm: int = 1
    qk_norm: QkNorm = QkNorm.NONE
    qk_norm_field: str = ""
    qkv_bias: bool | str = "attention_bias"
    out_bias: bool | str = "attention_bias"
    mlp_bias: bool | str = False
    head_bias: bool | str = False
    gated: bool = True
    latent: bool = False
    sinks: bool = False
    attention_gate: bool = False
    full_every: int = 1
    extra_positions: int | None = None
    experts: bool = False
    dense_beside_experts: bool = False
    expert_norms: int = 0
    scalars: int = 0
    expert_bias: bool = False
    router_vectors: int = 0


_LAYER_NORM: dict[str, Any] = {"norm_vectors": 2}
_ALL_BIASES: dict[str, Any] = {"qkv_bias": True, "out_bias": True, "mlp_bias": True}
_NO_BIAS: dict[str, Any] = {"qkv_bias": False, "out_bias": False}
_TIED = {"tie_word_embeddings": True}
_GEMMA = {"head_dim": 256, "vocab_size": 256000, "max_position_embeddings": 8192, **_TIED}
_GEMMA_3 = {
    **_GEMMA,
    "vocab_size": 262208,
    "max_position_embeddings": 131072,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "sliding_window": 4096,
}

FAMILIES: Mapping[str, Family] = {
    "llama": Family(mlp_bias="mlp_bias"),
    "mistral": Family(**_NO_BIAS, full_every=0),
    "ministral": Family(**_NO_BIAS, full_every=0),
    "ministral3": Family(**_NO_BIAS, full_every=0),
    "mixtral": Family(**_NO_BIAS, full_every=0, experts=True),
    "qwen2": Family(qkv_bias=True, out_bias=False),
    "qwen2moe": Family(qkv_bias=True, out_bias=False, experts=True, expert_norms=1),
    "qwen3": Family(qk_norm=QkNorm.HEAD),
    "qwen3moe": Family(qk_norm=QkNorm.HEAD, experts=True),
    "qwen3next": Family(qk_norm=QkNorm.HEAD, experts=True, expert_norms=1, attention_gate=True),
    "qwen35": Family(qk_norm=QkNorm.HEAD, attention_gate=True),
    "qwen35moe": Family(qk_norm=QkNorm.HEAD, experts=True, expert_norms=1, attention_gate=True),
    "qwen2vl": Family(qkv_bias=True, out_bias=False),
    "qwen25vl": Family(qkv_bias=True, out_bias=False),
    "qwen3vl": Family(qk_norm=QkNorm.HEAD),
    "qwen3vlmoe": Family(qk_norm=QkNorm.HEAD, experts=True),
    "gemma": Family(_GEMMA),
    "gemma2": Family({**_GEMMA, "sliding_window": 4096}, norms=4, full_every=2),
    "gemma3": Family(_GEMMA_3, norms=4, qk_norm=QkNorm.HEAD, full_every=6),
    "gemma4": Family(
        {**_GEMMA, "vocab_size": 262144, "max_position_embeddings": 131072},
        norms=4,
        qk_norm=QkNorm.HEAD,
        full_every=6,
        experts=True,
        dense_beside_experts=True,
        expert_norms=4,
        router_vectors=1,
        scalars=1,
    ),
    "phi": Family(
        **_LAYER_NORM,
        **_ALL_BIASES,
        norms=1,
        gated=False,
        head_bias=True,
    ),
    "phi3": Family(**_NO_BIAS, full_every=0),
    "phimoe": Family(**_LAYER_NORM, head_bias="lm_head_bias", full_every=0, experts=True),
    "deepseekv2": Family(latent=True, experts=True),
    "deepseekv3": Family(latent=True, experts=True, router_vectors=1),
    "deepseekv32": Family(latent=True, experts=True, router_vectors=1),
    "gptoss": Family(
        {"head_dim": 64},
        qkv_bias=True,
        out_bias=True,
        sinks=True,
        full_every=2,
        experts=True,
        expert_bias=True,
        router_vectors=1,
    ),
    "llama4": Family(full_every=4, experts=True),
    "glm4": Family(norms=4, out_bias=False),
    "glm4moe": Family(
        out_bias=False,
        experts=True,
        router_vectors=1,
        qk_norm=QkNorm.HEAD,
        qk_norm_field="use_qk_norm",
    ),
    "glmmoedsa": Family(latent=True, experts=True, router_vectors=1),
    "minimaxm2": Family(**_NO_BIAS, qk_norm=QkNorm.ALL, experts=True, router_vectors=1),
    "mimo": Family(qkv_bias=True, out_bias=False),
    "arcee": Family(mlp_bias="mlp_bias", gated=False),
    "exaone4": Family(**_NO_BIAS, qk_norm=QkNorm.HEAD, full_every=4),
    "ernie45": Family(
        {"use_bias": False}, qkv_bias="use_bias", out_bias="use_bias", mlp_bias="use_bias"
    ),
    "granitemoe": Family(experts=True),
    "bloom": Family(_TIED, **_LAYER_NORM, **_ALL_BIASES, gated=False, last_norm=2),
    "gptneo": Family(
        _TIED,
        **_LAYER_NORM,
        qkv_bias=False,
        out_bias=True,
        mlp_bias=True,
        gated=False,
        extra_positions=0,
    ),
    "granite": Family(mlp_bias="mlp_bias"),
    "olmo": Family(norm_vectors=0, last_norm=0),
    "olmo2": Family(qk_norm=QkNorm.ALL),
    "olmo3": Family(qk_norm=QkNorm.ALL, full_every=4),
    "olmoe": Family(qk_norm=QkNorm.ALL, experts=True),
    "smollm3": Family(mlp_bias="mlp_bias"),
    "seedoss": Family(out_bias="attention_out_bias", mlp_bias="mlp_bias"),
    "cohere": Family(_TIED, norms=1, qk_norm=QkNorm.ALL, qk_norm_field="use_qk_norm"),
    "cohere2": Family(_TIED, norms=1, full_every=4),
    "starcoder2": Family(
        _TIED,
        **_LAYER_NORM,
        qkv_bias="use_bias",
        out_bias="use_bias",
        mlp_bias="use_bias",
        gated=False,
        full_every=0,
    ),
    "stablelm": Family(
        **_LAYER_NORM,
        qkv_bias="use_qkv_bias",
        out_bias=False,
        qk_norm=QkNorm.ALL,
        qk_norm_field="qk_layernorm",
    ),
    "nemotron": Family(**_LAYER_NORM, mlp_bias="mlp_bias", gated=False),
    "gpt2": Family(_TIED, **_LAYER_NORM, **_ALL_BIASES, gated=False, extra_positions=0),
    "gptbigcode": Family(_TIED, **_LAYER_NORM, **_ALL_BIASES, gated=False, extra_positions=0),
    "gptneox": Family(**_LAYER_NORM, **_ALL_BIASES, gated=False),
    "gptj": Family(**_LAYER_NORM, **_NO_BIAS, norms=1, mlp_bias=True, gated=False, head_bias=True),
    "opt": Family(_TIED, **_LAYER_NORM, **_ALL_BIASES, gated=False, extra_positions=2),
    "falcon": Family(
        _TIED,
        **_LAYER_NORM,
        qkv_bias="bias",
        out_bias="bias",
        mlp_bias="bias",
        norms=1,
        gated=False,
    ),
    "mpt": Family(_TIED, **_NO_BIAS, gated=False),
}
"""Families by the name of their architecture, without what it ends on, in small letters."""

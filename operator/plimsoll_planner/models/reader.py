"""From config.json to a model."""

from collections.abc import Mapping
from typing import Any

from plimsoll_planner.models.attention import (
    AnyAttention,
    Attention,
    LatentAttention,
    LinearAttention,
)
from plimsoll_planner.models.families import FAMILIES, Family, QkNorm
from plimsoll_planner.models.fields import Fields, UnknownModelError
from plimsoll_planner.models.mlp import Experts, Mlp
from plimsoll_planner.models.model import Layer, Model
from plimsoll_planner.models.quantization import checkpoint_format

MAX_LAYERS = 4096
_ENDINGS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "Model")
_TEXT = ("text_config", "llm_config", "language_config")
_HIDDEN = ("hidden_size", "n_embd", "d_model")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
_WIDTH = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_PER_TOKEN = ("num_experts_per_tok", "experts_per_token")
_EXPERT_WIDTH = ("moe_intermediate_size", "intermediate_size")


def read_model(config: Mapping[str, Any]) -> Model:
    """The model that a parsed config.json of the Hugging Face format describes; of one that also
    sees or hears, its language model.

    Raises UnknownModelError naming the field, its value and what to do.
    """
    architecture, family, fields = _language_model(config)
    hidden = fields.size(*_HIDDEN)
    count = fields.size(*_LAYERS)
    if count > MAX_LAYERS:
        raise UnknownModelError(f"config.json: {count} layers; the most is {MAX_LAYERS}")
    kinds = _kinds(family, fields, count)
    sparse = _sparse(family, fields, count)
    longest = fields.size(*_POSITIONS, default=2048)
    vocabulary = fields.size("vocab_size")
    extra = family.extra_positions
    return Model(
        architecture=architecture,
        hidden_size=hidden,
        vocab_size=vocabulary,
        max_position_embeddings=longest,
        layers=tuple(
            _layer(family, fields, hidden, kind, with_experts=with_experts)
            for kind, with_experts in zip(kinds, sparse, strict=True)
        ),
        tied=fields.flag("tie_word_embeddings"),
        vectors=family.last_norm * family.norm_vectors * hidden
        + (vocabulary if _has(family.head_bias, fields) else 0),
        positions=0 if extra is None else longest + extra,
        checkpoint=checkpoint_format(config, fields),
    )


def _language_model(config: Mapping[str, Any]) -> tuple[str, Family, Fields]:
    """Architecture, family and fields, of the language model where others are nested."""
    outer = Fields(config)
    names = [str(name) for name in outer.items("architectures")] or [outer.text("model_type")]
    nested = next((outer.nested(key) for key in _TEXT if outer.has(key)), None)
    if nested is not None:
        # The language model's family is its own; its sizes may lack what the whole says.
        names += [str(name) for name in nested.items("architectures")]
        names.append(nested.text("model_type"))
    for name in reversed(names):
        family = FAMILIES.get(_family_name(name))
        if family is None:
            continue
        inner = config if nested is None else nested.values
        tied = {key: config[key] for key in ("tie_word_embeddings",) if key in config}
        return names[0], family, Fields(inner, {**family.defaults, **tied})
    if not names[0]:
        raise UnknownModelError(
            "config.json: architectures is missing or empty: give the model's whole config.json"
        )
    raise UnknownModelError(
        f"config.json: architecture {names[0]!r:.80} is not one of the {len(FAMILIES)} families "
        f"that the planner knows: {', '.join(sorted(FAMILIES))}"
    )


def _family_name(name: str) -> str:
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name.lower().removesuffix("_text").replace("_", "").replace("-", "")


def _has(bias: bool | str, fields: Fields) -> bool:
    return fields.flag(bias) if isinstance(bias, str) else bias


def _kinds(family: Family, fields: Fields, count: int) -> list[str]:
    """Kind of attention of each layer, as in the field layer_types."""
    named = fields.items("layer_types")
    if named:
        if len(named) != count:
            raise UnknownModelError(
                f"config.json: layer_types has {len(named)} entries for {count} layers"
            )
        return [str(kind) for kind in named]
    if fields.has("full_attention_interval"):
        every = fields.size("full_attention_interval")
        return ["linear_attention" if (i + 1) % every else "full_attention" for i in range(count)]
    if fields.has("use_sliding_window") and not fields.flag("use_sliding_window"):
        return ["full_attention"] * count
    if fields.flag("use_sliding_window") and fields.has("max_window_layers"):
        first = fields.size("max_window_layers", least=0)
        return ["full_attention" if i < first else "sliding_attention" for i in range(count)]
    every = family.full_every
    if every > 1:
        every = fields.size("sliding_window_pattern", "no_rope_layer_interval", default=every)
    return [
        "full_attention" if every and (i + 1) % every == 0 else "sliding_attention"
        for i in range(count)
    ]


def _sparse(family: Family, fields: Fields, count: int) -> list[bool]:
    """Whether each layer has experts."""
    if not family.experts or not any(fields.has(name) for name in _EXPERTS):
        return [False] * count
    first = fields.size("first_k_dense_replace", default=0, least=0)
    every = fields.size(
        "decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_freq", default=1
    )
    dense = fields.items("mlp_only_layers")
    return [i >= first and (i + 1) % every == 0 and i not in dense for i in range(count)]


def _layer(family: Family, fields: Fields, hidden: int, kind: str, *, with_experts: bool) -> Layer:
    attention, vectors = _attention(family, fields, hidden, kind)
    mlp = None if with_experts else Mlp(_dense_width(fields, hidden), family.gated)
    experts, of_experts = None, 0
    if with_experts:
        experts = Experts(
            count=fields.size(*_EXPERTS),
            per_token=fields.size(*_PER_TOKEN),
            width=fields.size(*_EXPERT_WIDTH),
            gated=family.gated,
        )
        if experts.per_token > experts.count:
            raise UnknownModelError(
                f"config.json: {experts.per_token} experts per token of {experts.count}"
            )
        mlp = _shared(family, fields, experts)
        vectors += family.router_vectors * experts.count
        vectors += hidden if family.shared_gate and mlp else 0
        if family.expert_bias:
            of_experts = experts.count * ((1 + family.gated) * experts.width + hidden)
    elif _has(family.mlp_bias, fields) and mlp:
        vectors += (1 + family.gated) * mlp.width + hidden
    norms = 2 if fields.flag("new_decoder_architecture") else family.norms
    vectors += norms * family.norm_vectors * hidden
    return Layer(attention, mlp, experts, vectors, of_experts)


def _dense_width(fields: Fields, hidden: int) -> int:
    return fields.size("intermediate_size_mlp", *_WIDTH, default=4 * hidden)


def _shared(family: Family, fields: Fields, experts: Experts) -> Mlp | None:
    """The experts that every token goes through, as one MLP."""
    width = fields.size_or_none("shared_expert_intermediate_size", least=0)
    if width is None and fields.has("intermediate_size_mlp"):
        width = experts.width
    if width is None:
        width = experts.width * fields.size("n_shared_experts", default=0, least=0)
    return Mlp(width, family.gated) if width else None


def _attention(family: Family, fields: Fields, hidden: int, kind: str) -> tuple[AnyAttention, int]:
    """Attention of a layer, and how many numbers its vectors have."""
    if kind == "linear_attention":
        return _linear(fields)
    if kind not in ("full_attention", "sliding_attention", "chunked_attention"):
        raise UnknownModelError(
            f"config.json: layer_types names {kind!r:.80}; known are full_attention, "
            "sliding_attention, chunked_attention and linear_attention"
        )
    if family.latent:
        return _latent(fields, hidden)
    heads = fields.size(*_HEADS)
    kv_heads = _kv_heads(fields, heads)
    head_dim = fields.size("head_dim", default=max(1, hidden // heads))
    window = None
    if kind != "full_attention":
        window = fields.size_or_none("sliding_window", "attention_chunk_size")
    vectors = heads if family.sinks else 0
    if _has(family.qkv_bias, fields):
        vectors += (heads + 2 * kv_heads) * head_dim
    if _has(family.out_bias, fields):
        vectors += hidden
    vectors += _norm_of_heads(family, fields, heads, kv_heads) * head_dim
    return Attention(
        heads, kv_heads, head_dim, head_dim, window, gated=family.attention_gate
    ), vectors


def _norm_of_heads(family: Family, fields: Fields, heads: int, kv_heads: int) -> int:
    """How many vectors of head_dim the norms of queries and keys have."""
    kind = family.qk_norm
    if kind is QkNorm.NONE:
        kind = QkNorm.EACH_HEAD if fields.flag("qk_layernorm") else kind
    if kind is QkNorm.HEAD:
        return 2
    return heads + kv_heads if kind in (QkNorm.ALL, QkNorm.EACH_HEAD) else 0


def _kv_heads(fields: Fields, heads: int) -> int:
    if fields.flag("multi_query") and not fields.flag("new_decoder_architecture"):
        return 1
    kv_heads = fields.size(*_KV_HEADS, default=heads)
    if heads % kv_heads:
        raise UnknownModelError(
            f"config.json: num_attention_heads {heads} is not a multiple of "
            f"num_key_value_heads {kv_heads}"
        )
    return kv_heads


def _latent(fields: Fields, hidden: int) -> tuple[LatentAttention, int]:
    rank = fields.size_or_none("q_lora_rank")
    attention = LatentAttention(
        heads=fields.size(*_HEADS),
        query_rank=rank,
        latent_rank=fields.size("kv_lora_rank"),
        position_dim=fields.size("qk_rope_head_dim"),
        plain_dim=fields.size("qk_nope_head_dim"),
        value_dim=fields.size("v_head_dim"),
        index_heads=fields.size("index_n_heads", default=0, least=0),
        index_dim=fields.size("index_head_dim", default=0, least=0),
        index_tokens=fields.size_or_none("index_topk"),
    )
    vectors = (rank or 0) + attention.latent_rank + 2 * attention.index_dim
    if fields.flag("attention_bias"):
        vectors += (rank or 0) + attention.latent_rank + attention.position_dim + hidden
    return attention, vectors


def _linear(fields: Fields) -> tuple[LinearAttention, int]:
    attention = LinearAttention(
        key_heads=fields.size("linear_num_key_heads"),
        heads=fields.size("linear_num_value_heads"),
        head_dim=fields.size("linear_key_head_dim"),
        value_dim=fields.size("linear_value_head_dim"),
        convolution=fields.size("linear_conv_kernel_dim"),
    )
    return attention, 2 * attention.heads + attention.value_dim

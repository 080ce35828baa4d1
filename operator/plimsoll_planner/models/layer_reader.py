"""One layer from the fields of a config.json."""

from plimsoll_planner.models.attention import (
    AnyAttention,
    Attention,
    LatentAttention,
    LinearAttention,
)
from plimsoll_planner.models.families import Family, QkNorm
from plimsoll_planner.models.fields import Fields, UnknownModelError
from plimsoll_planner.models.layout import EXPERTS, FULL, LINEAR, LayerKind
from plimsoll_planner.models.mlp import Experts, Mlp
from plimsoll_planner.models.model import Layer

HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
_WIDTH = ("intermediate_size_mlp", "intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
_PER_TOKEN = ("num_experts_per_tok", "experts_per_token", "moe_k", "top_k_experts")
_OF_OTHERS = ("hidden_size_per_layer_input", "num_kv_shared_layers")
_EXPERT_WIDTH = ("moe_intermediate_size", "intermediate_size")
_SHARED = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts")


def has_bias(bias: bool | str, fields: Fields) -> bool:
    """Whether there is a bias that a family names by the field which says so."""
    return fields.flag(bias) if isinstance(bias, str) else bias


def read_layer(family: Family, fields: Fields, hidden: int, kind: LayerKind) -> Layer:
    """A layer of `kind` beside a residual stream `hidden` wide."""
    if kind.attention == LINEAR:
        attention, vectors = _linear(fields)
    elif family.latent:
        attention, vectors = _latent(fields, hidden, indexed=kind.indexed)
    else:
        attention, vectors = _attention(family, fields, hidden, kind.attention)
    norms = 2 if fields.flag("new_decoder_architecture") else family.norms
    vectors += norms * family.norm_vectors * hidden + family.scalars
    dense = Mlp(fields.size(*_WIDTH, default=4 * hidden), family.gated)
    if not kind.sparse:
        if has_bias(family.mlp_bias, fields):
            vectors += (1 + family.gated) * dense.width + hidden
        return Layer(attention, dense, None, vectors)
    experts = _experts(family, fields, hidden)
    beside = dense if family.dense_beside_experts else _shared(family, fields, experts)
    vectors += family.router_vectors * experts.count + family.expert_norms * hidden
    return Layer(attention, beside, experts, vectors)


def _experts(family: Family, fields: Fields, hidden: int) -> Experts:
    width = fields.size(*_EXPERT_WIDTH)
    experts = Experts(
        count=fields.size(*EXPERTS),
        per_token=fields.size(*_PER_TOKEN),
        width=width,
        gated=family.gated,
        biases=(1 + family.gated) * width + hidden if family.expert_bias else 0,
    )
    if experts.per_token > experts.count:
        raise UnknownModelError(
            f"config.json: num_experts_per_tok {experts.per_token} is more than the "
            f"{experts.count} experts"
        )
    return experts


def _shared(family: Family, fields: Fields, experts: Experts) -> Mlp | None:
    """The experts that every token goes through, as one MLP."""
    width = fields.size_or_none("shared_expert_intermediate_size", least=0)
    if width is None and fields.has("intermediate_size_mlp"):
        width = experts.width
    if width is None:
        width = experts.width * fields.size(*_SHARED, default=0, least=0)
    return Mlp(width, family.gated) if width else None


def _attention(family: Family, fields: Fields, hidden: int, kind: str) -> tuple[AnyAttention, int]:
    """Attention, and how many numbers its biases, norms and sinks are."""
    for name in _OF_OTHERS:
        if fields.size(name, default=0, least=0):
            raise UnknownModelError(
                f"config.json: {name} is set: the planner does not know models with inputs of "
                "their own for each layer, or layers that share a KV cache"
            )
    heads = fields.size(*HEADS)
    of_full = "global_" if kind == FULL and fields.has("global_head_dim") else ""
    kv_heads = _kv_heads(fields, heads, of_full)
    head_dim = fields.size(f"{of_full}head_dim", default=max(1, hidden // heads))
    window = None
    if kind != FULL:
        window = fields.size_or_none("sliding_window", "attention_chunk_size")
    attention = Attention(
        heads,
        kv_heads,
        head_dim,
        head_dim,
        window,
        gated=family.attention_gate,
        values_are_keys=bool(of_full) and fields.flag("attention_k_eq_v"),
    )
    vectors = heads if family.sinks else 0
    if has_bias(family.qkv_bias, fields):
        vectors += (heads + 2 * kv_heads) * head_dim
    if has_bias(family.out_bias, fields):
        vectors += hidden
    vectors += _norm_vectors(family, fields, heads, kv_heads) * head_dim
    return attention, vectors


def _norm_vectors(family: Family, fields: Fields, heads: int, kv_heads: int) -> int:
    """How many vectors of head_dim the norms of queries and keys have."""
    named = family.qk_norm_field
    if family.qk_norm is QkNorm.NONE or (named and not fields.flag(named)):
        return 0
    return 2 if family.qk_norm is QkNorm.HEAD else heads + kv_heads


def _kv_heads(fields: Fields, heads: int, of_full: str) -> int:
    if fields.flag("multi_query") and not fields.flag("new_decoder_architecture"):
        return 1
    own = (f"num_{of_full}key_value_heads",) if of_full else ()
    kv_heads = fields.size(*own, *_KV_HEADS, default=heads)
    if heads % kv_heads:
        raise UnknownModelError(
            f"config.json: num_attention_heads {heads} is not a multiple of "
            f"num_key_value_heads {kv_heads}"
        )
    return kv_heads


def _latent(fields: Fields, hidden: int, *, indexed: bool) -> tuple[AnyAttention, int]:
    rank = fields.size_or_none("q_lora_rank")
    attention = LatentAttention(
        heads=fields.size(*HEADS),
        query_rank=rank,
        latent_rank=fields.size("kv_lora_rank"),
        position_dim=fields.size("qk_rope_head_dim"),
        plain_dim=fields.size("qk_nope_head_dim"),
        value_dim=fields.size("v_head_dim"),
        index_heads=fields.size("index_n_heads") if indexed else 0,
        index_dim=fields.size("index_head_dim") if indexed else 0,
        attended=fields.size_or_none("index_topk"),
    )
    vectors = (rank or 0) + attention.latent_rank + 2 * attention.index_dim
    if fields.flag("attention_bias"):
        vectors += (rank or 0) + attention.latent_rank + attention.position_dim + hidden
    return attention, vectors


def _linear(fields: Fields) -> tuple[AnyAttention, int]:
    attention = LinearAttention(
        key_heads=fields.size("linear_num_key_heads"),
        heads=fields.size("linear_num_value_heads"),
        head_dim=fields.size("linear_key_head_dim"),
        value_dim=fields.size("linear_value_head_dim"),
        convolution=fields.size("linear_conv_kernel_dim"),
    )
    return attention, 2 * attention.heads + attention.value_dim

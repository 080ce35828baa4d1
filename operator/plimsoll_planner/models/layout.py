"""Which kind of attention and MLP each layer of a model has."""

from dataclasses import dataclass

from plimsoll_planner.models.families import Family
from plimsoll_planner.models.fields import Fields, UnknownModelError

FULL, SLIDING, LINEAR = "full_attention", "sliding_attention", "linear_attention"
_SAME = {"chunked_attention": SLIDING, "indexed_attention": FULL, "attention": FULL}
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


@dataclass(frozen=True)
class LayerKind:
    """`attention` is FULL, SLIDING or LINEAR; `sparse` layers have experts, `indexed` ones an
    index of their own that chooses what is attended to."""

    attention: str
    sparse: bool
    indexed: bool


def layer_kinds(family: Family, fields: Fields, layers: int) -> tuple[LayerKind, ...]:
    """The kind of each layer. Raises UnknownModelError for one that the planner does not know."""
    attention = _attention_kinds(family, fields, layers)
    sparse, indexed = _sparse_layers(family, fields, layers), _indexed_layers(fields, layers)
    return tuple(map(LayerKind, attention, sparse, indexed))


def _attention_kinds(family: Family, fields: Fields, layers: int) -> list[str]:
    named = fields.items("layer_types")
    if named:
        _check_length("layer_types", named, layers)
        kinds = [_SAME.get(str(kind), str(kind)) for kind in named]
        unknown = set(kinds) - {FULL, SLIDING, LINEAR}
        if unknown:
            raise UnknownModelError(
                f"config.json: layer_types names {min(unknown)!r:.80}; known are "
                f"{', '.join((FULL, SLIDING, LINEAR, *_SAME))}"
            )
        return kinds
    if fields.has("full_attention_interval"):
        every = fields.size("full_attention_interval")
        return _every(every, layers, LINEAR)
    if fields.has("use_sliding_window"):
        if not fields.flag("use_sliding_window"):
            return [FULL] * layers
        first = fields.size("max_window_layers", default=layers, least=0)
        return [FULL if i < first else SLIDING for i in range(layers)]
    return _every(_full_every(family, fields), layers, SLIDING)


def _sparse_layers(family: Family, fields: Fields, layers: int) -> list[bool]:
    has_experts = any(fields.has(name) for name in EXPERTS)
    if not family.experts or not has_experts or not fields.flag("enable_moe_block", default=True):
        return [False] * layers
    named = fields.items("mlp_layer_types")
    if named:
        _check_length("mlp_layer_types", named, layers)
        return [kind == "sparse" for kind in named]
    first = fields.size("first_k_dense_replace", "moe_layer_start_index", default=0, least=0)
    every = fields.size(
        "decoder_sparse_step",
        "interleave_moe_layer_step",
        "moe_layer_freq",
        "moe_layer_interval",
        default=1,
    )
    dense = fields.items("mlp_only_layers")
    return [i >= first and (i + 1) % every == 0 and i not in dense for i in range(layers)]


def _indexed_layers(fields: Fields, layers: int) -> list[bool]:
    named = fields.items("indexer_types")
    if not named:
        return [fields.has("index_n_heads")] * layers
    _check_length("indexer_types", named, layers)
    return [kind == "full" for kind in named]


def _full_every(family: Family, fields: Fields) -> int:
    if family.full_every <= 1:
        return family.full_every
    pattern = fields.values.get("sliding_window_pattern")
    if isinstance(pattern, str):
        return len(pattern)
    names = ("sliding_window_pattern", "_sliding_window_pattern", "no_rope_layer_interval")
    return fields.size(*names, default=family.full_every)


def _every(full: int, layers: int, others: str) -> list[str]:
    """Each `full`-th layer is FULL, none if 0."""
    return [FULL if full and (i + 1) % full == 0 else others for i in range(layers)]


def _check_length(name: str, named: list[object], layers: int) -> None:
    if len(named) != layers:
        raise UnknownModelError(f"config.json: {name} has {len(named)} entries for {layers} layers")

"""From config.json to a model."""

from collections.abc import Mapping
from typing import Any

from plimsoll_planner.models.encoders import encoder_matrices
from plimsoll_planner.models.families import FAMILIES, Family
from plimsoll_planner.models.fields import Fields, UnknownModelError
from plimsoll_planner.models.layer_reader import has_bias, read_layer
from plimsoll_planner.models.layout import layer_kinds
from plimsoll_planner.models.model import Model
from plimsoll_planner.models.quantization import checkpoint_format, engine_scheme

MAX_LAYERS = 4096
_ENDINGS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "Model")
_TEXT = ("text_config", "llm_config", "language_config")
_HIDDEN = ("hidden_size", "n_embd", "d_model")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


def read_model(config: Mapping[str, Any]) -> Model:
    """The model that a parsed config.json of the Hugging Face format describes; of one that also
    sees or hears, its language model, and the encoder of images where the planner knows its kind.

    Raises UnknownModelError naming the field, its value and what to do.
    """
    architecture, family, fields = _language_model(config)
    hidden, layers = fields.size(*_HIDDEN), fields.size(*_LAYERS)
    if layers > MAX_LAYERS:
        raise UnknownModelError(f"config.json: {layers} layers; the most is {MAX_LAYERS}")
    longest, vocabulary = fields.size(*_POSITIONS, default=2048), fields.size("vocab_size")
    last_norm = family.last_norm * family.norm_vectors * hidden
    return Model(
        architecture=architecture,
        hidden_size=hidden,
        vocab_size=vocabulary,
        max_position_embeddings=longest,
        layers=tuple(
            read_layer(family, fields, hidden, kind) for kind in layer_kinds(family, fields, layers)
        ),
        tied=fields.flag("tie_word_embeddings"),
        vectors=last_norm + (vocabulary if has_bias(family.head_bias, fields) else 0),
        positions=0 if family.extra_positions is None else longest + family.extra_positions,
        checkpoint=checkpoint_format(config, fields),
        encoders=encoder_matrices(Fields(config), hidden),
        compressed=engine_scheme(config, fields),
    )


def _language_model(config: Mapping[str, Any]) -> tuple[str, Family, Fields]:
    """Architecture, family and fields, of the language model where it is nested in a larger."""
    outer = Fields(config)
    names = [str(name) for name in outer.items("architectures")] or [outer.text("model_type")]
    nested = next((outer.nested(key) for key in _TEXT if outer.has(key)), None)
    if nested is not None:
        names += [*map(str, nested.items("architectures")), nested.text("model_type")]
    for name in reversed(names):
        family = FAMILIES.get(family_name(name))
        if family is None:
            continue
        tied = {key: config[key] for key in ("tie_word_embeddings",) if key in config}
        inner = config if nested is None else nested.values
        return names[0], family, Fields(inner, {**family.defaults, **tied})
    if not names[0]:
        raise UnknownModelError(
            "config.json: architectures is missing or empty: give the model's whole config.json"
        )
    raise UnknownModelError(
        f"config.json: architecture {names[0]!r:.80} is not of the {len(FAMILIES)} families "
        f"that the planner knows: {', '.join(sorted(FAMILIES))}"
    )


def family_name(architecture: str) -> str:
    """The key in FAMILIES of an architecture (`Qwen2MoeForCausalLM`) or a model_type
    (`qwen2_moe`)."""
    for ending in _ENDINGS:
        architecture = architecture.removesuffix(ending)
    return architecture.lower().removesuffix("_text").replace("_", "").replace("-", "")

"""Facts of a model, read from its config.json. Shared by the engine and the planner."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plimsoll_runtime.core.compressed_tensors import (
    CompressedTensors,
    UnsupportedSchemeError,
    compressed_tensors,
)


class UnsupportedModelError(ValueError):
    """The config.json describes a model that Plimsoll cannot run or plan."""


@dataclass(frozen=True)
class Family:
    """How an architecture differs from Llama's.

    Biases are of attention's projections, None where `attention_bias` decides, and of the MLP's,
    None where `mlp_bias` does; `qk_norm` is whether queries and keys are normalized, head by head,
    before they are rotated. `head_dim` and `sliding_window` are what holds where config.json says
    nothing, None for Llama's own.
    """

    qkv_bias: bool | None = None
    output_bias: bool | None = None
    mlp_bias: bool | None = None
    qk_norm: bool = False
    head_dim: int | None = None
    sliding_window: int | None = None


FAMILIES = {
    "LlamaForCausalLM": Family(),
    "MistralForCausalLM": Family(
        qkv_bias=False, output_bias=False, mlp_bias=False, sliding_window=4096
    ),
    "Qwen2ForCausalLM": Family(qkv_bias=True, output_bias=False, mlp_bias=False),
    "Qwen3ForCausalLM": Family(mlp_bias=False, qk_norm=True, head_dim=128),
}
SUPPORTED_ARCHITECTURES = tuple(FAMILIES)


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3's rotary frequency scaling (`rope_type: llama3`) or linear position scaling."""

    rope_type: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a decoder-only transformer."""

    architecture: str
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_attention_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None
    tie_word_embeddings: bool
    qkv_bias: bool
    output_bias: bool
    qk_norm: bool
    mlp_bias: bool
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    dtype: str
    compressed: CompressedTensors | None = None

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "ModelConfig":
        """Reads the parsed config.json of the Hugging Face format, of transformers 4 or 5.

        Raises UnsupportedModelError naming the field, its value and what is supported.
        """
        architecture = _architecture(config)
        family, bias = FAMILIES[architecture], bool(config.get("attention_bias", False))
        heads = _positive(config, "num_attention_heads")
        hidden = _positive(config, "hidden_size")
        kv_heads = _positive(config, "num_key_value_heads", default=heads)
        usual_dim = family.head_dim or max(1, hidden // heads)
        head_dim = _positive(config, "head_dim", default=usual_dim)
        max_positions = _positive(config, "max_position_embeddings", default=2048)
        if heads % kv_heads:
            raise UnsupportedModelError(
                f"config.json: num_attention_heads {heads} is not a multiple of "
                f"num_key_value_heads {kv_heads}"
            )
        activation = config.get("hidden_act", "silu")
        if activation != "silu":
            raise UnsupportedModelError(f"config.json: hidden_act {activation!r}; supported: silu")
        _refuse_window(config, family, max_positions)
        rope = _mapping(config, "rope_parameters") or _mapping(config, "rope_scaling")
        theta = rope.get("rope_theta", config.get("rope_theta", 10000.0))
        return cls(
            architecture=architecture,
            hidden_size=hidden,
            intermediate_size=_positive(config, "intermediate_size"),
            num_layers=_positive(config, "num_hidden_layers"),
            num_attention_heads=heads,
            num_kv_heads=kv_heads,
            head_dim=head_dim,
            vocab_size=_positive(config, "vocab_size"),
            max_position_embeddings=max_positions,
            rms_norm_eps=float(config.get("rms_norm_eps", 1e-6)),
            rope_theta=float(theta),
            rope_scaling=_rope_scaling(rope),
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            qkv_bias=bias if family.qkv_bias is None else family.qkv_bias,
            output_bias=bias if family.output_bias is None else family.output_bias,
            qk_norm=family.qk_norm,
            mlp_bias=bool(config.get("mlp_bias", False))
            if family.mlp_bias is None
            else family.mlp_bias,
            bos_token_id=_optional_int(config, "bos_token_id"),
            eos_token_ids=_token_ids(config.get("eos_token_id")),
            dtype=str(config.get("dtype") or config.get("torch_dtype") or "bfloat16"),
            compressed=_compressed(config),
        )


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures") or []
    if not isinstance(names, list) or not names:
        raise UnsupportedModelError("config.json: architectures is missing or empty")
    for name in names:
        if name in SUPPORTED_ARCHITECTURES:
            return str(name)
    raise UnsupportedModelError(
        f"config.json: architectures {names}; supported: {', '.join(SUPPORTED_ARCHITECTURES)}"
    )


def _compressed(config: Mapping[str, Any]) -> CompressedTensors | None:
    quantized = config.get("quantization_config") or config.get("compression_config")
    if not quantized:
        return None
    try:
        return compressed_tensors(_mapping({"it": quantized}, "it"))
    except UnsupportedSchemeError as error:
        raise UnsupportedModelError(f"config.json: {error}") from error


def _refuse_window(config: Mapping[str, Any], family: Family, max_positions: int) -> None:
    """Raises UnsupportedModelError where some layers do not see the whole of a long sequence."""
    used = family.sliding_window is not None or bool(config.get("use_sliding_window", False))
    window = config.get("sliding_window", family.sliding_window)
    if used and isinstance(window, int) and window < max_positions:
        raise UnsupportedModelError(
            f"config.json: sliding_window {window} is below max_position_embeddings "
            f"{max_positions}, and attention in windows is not supported; a copy of the model with "
            f"max_position_embeddings {window} is"
        )


def _positive(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise UnsupportedModelError(f"config.json: {key} must be a positive integer, not {value!r}")
    return value


def _optional_int(config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) else None


def _mapping(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    return value if isinstance(value, Mapping) else {}


def _token_ids(value: object) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,)
    if isinstance(value, list):
        return tuple(item for item in value if isinstance(item, int))
    return ()


def _rope_scaling(rope: Mapping[str, Any]) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind not in ("llama3", "linear"):
        raise UnsupportedModelError(
            f"config.json: rope type {kind!r}; supported: default, linear, llama3"
        )
    return RopeScaling(
        rope_type=str(kind),
        factor=float(rope.get("factor", 1.0)),
        low_freq_factor=float(rope.get("low_freq_factor", 1.0)),
        high_freq_factor=float(rope.get("high_freq_factor", 4.0)),
        original_max_position_embeddings=int(rope.get("original_max_position_embeddings", 8192)),
    )

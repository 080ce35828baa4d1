"""Which quantized checkpoints can be read: compressed-tensors' int8, from config.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ACTIVATIONS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token"}
FORMATS = ("int-quantized", "pack-quantized")
HEADS = ("lm_head", "re:.*lm_head", "re:.*lm_head.*")


class UnsupportedSchemeError(ValueError):
    """The checkpoint is quantized in a way that cannot be read; the message names it."""


@dataclass(frozen=True)
class CompressedTensors:
    """All linear layers are int8, and the output head too with `head`.

    With `weight_only` activations stay as they are, else they are quantized token by token. With
    `packed` four numbers are stored as one int32.
    """

    weight_only: bool
    head: bool
    packed: bool = False


def compressed_tensors(config: Mapping[str, Any]) -> CompressedTensors:
    """From `quantization_config`. Raises UnsupportedSchemeError for all but symmetric int8 with a
    scale for each output or weight."""
    _require("quant_method", config.get("quant_method"), ("compressed-tensors",))
    groups = config.get("config_groups")
    if not isinstance(groups, Mapping) or len(groups) != 1:
        names = ", ".join(groups) if isinstance(groups, Mapping) else "none"
        raise _unsupported("config_groups", names, "one group")
    ((name, group),) = groups.items()
    if not isinstance(group, Mapping):
        raise _unsupported(f"config_groups.{name}", group, "an object")
    number_format = group.get("format") or config.get("format")
    _require("format", number_format, FORMATS)
    _require(f"{name}.targets", group.get("targets"), (["Linear"],))
    weights = group.get("weights")
    if not isinstance(weights, Mapping):
        raise _unsupported(f"{name}.weights", weights, "an object")
    for key, known in (
        ("num_bits", (8,)),
        ("type", ("int",)),
        ("symmetric", (True,)),
        ("strategy", ("channel", "tensor")),
        ("actorder", (None,)),
    ):
        _require(f"{name}.weights.{key}", weights.get(key), known)
    activations = group.get("input_activations")
    if activations is not None:
        if not isinstance(activations, Mapping):
            raise _unsupported(f"{name}.input_activations", activations, "an object")
        for key, value in (*ACTIVATIONS.items(), ("dynamic", True)):
            _require(f"{name}.input_activations.{key}", activations.get(key), (value,))
    _require(f"{name}.output_activations", group.get("output_activations"), (None,))
    _require("kv_cache_scheme", config.get("kv_cache_scheme"), (None,))
    sparsity = config.get("sparsity_config") or {}
    _require("sparsity_config.format", sparsity.get("format"), (None, "dense"))
    _require("transform_config", config.get("transform_config") or None, (None,))
    ignored = config.get("ignore") or []
    for module in ignored:
        _require("ignore", module, HEADS)
    return CompressedTensors(
        weight_only=activations is None,
        head=not ignored,
        packed=number_format == "pack-quantized",
    )


def _require(name: str, value: object, known: tuple[object, ...]) -> None:
    if value not in known:
        raise _unsupported(name, value, " or ".join(map(str, known)))


def _unsupported(name: str, value: object, known: str) -> UnsupportedSchemeError:
    return UnsupportedSchemeError(
        f"quantization_config.{name} is {value!s:.80}, and only {known} can be read: use a "
        "checkpoint in symmetric int8 (W8A8 or W8A16) with a scale for each output or weight, or "
        "the unquantized one, of which --quantization makes int8 on CPU"
    )

"""In which format a checkpoint is published, from its quantization_config."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from plimsoll_planner.models.fields import Fields, UnknownModelError
from plimsoll_planner.models.formats import EXPERTS, FORMATS, WHOLE, Format
from plimsoll_planner.models.weights import Part
from plimsoll_runtime.core.compressed_tensors import (
    CompressedTensors,
    UnsupportedSchemeError,
    compressed_tensors,
)

_DTYPES = {"float32": "FP32", "float": "FP32", "bfloat16": "BF16", "float16": "FP16"}
_DTYPE_KEYS = ("dtype", "torch_dtype")
_LEFT_OUT = ("modules_to_not_convert", "ignore", "exclude_modules", "ignored_layers")
_NAMES = {
    Part.ATTENTION: ("attn", "attention"),
    Part.MLP: ("shared_expert", "mlp.(gate|", "mlp.gate_proj", "mlp.down_proj"),
    Part.EXPERT: (".experts",),
    Part.HEAD: ("lm_head",),
}
"""What modules of a part are called in the lists of those that are left as they were."""


def checkpoint_format(config: Mapping[str, Any], text: Fields) -> Format:
    """The format of the published weights.

    `config` is the whole config.json, `text` the fields of the language model in it. Raises
    UnknownModelError where it names a way of quantizing that the planner does not know.
    """
    fields = _quantization(config, text)
    if fields is not None:
        return _without_left_out(_quantized(fields), fields)
    named = (source.text(key) for source in (text, Fields(config)) for key in _DTYPE_KEYS)
    return FORMATS[_DTYPES.get(next(filter(None, named), ""), "BF16")]


def engine_scheme(config: Mapping[str, Any], text: Fields) -> CompressedTensors | None:
    """What the engine reads of a quantized checkpoint; None where it reads none of it, and of one
    that is not quantized. Arguments as for `checkpoint_format`."""
    fields = _quantization(config, text)
    if fields is None:
        return None
    try:
        return compressed_tensors(fields.values)
    except UnsupportedSchemeError:
        return None


def _quantization(config: Mapping[str, Any], text: Fields) -> Fields | None:
    """What config.json says of it, if anything."""
    for source in (text, Fields(config)):
        for name in ("quantization_config", "compression_config"):
            fields = source.nested(name)
            if fields.values:
                return fields
    return None


def _quantized(fields: Fields) -> Format:
    method = fields.text("quant_method") or fields.text("quant_algo")
    reader = _METHODS.get(method)
    if reader is None:
        raise UnknownModelError(
            f"config.json: quantization_config.quant_method {method!r:.80} is not known; known "
            f"are {', '.join(sorted(_METHODS))}: give the config.json of the unquantized model "
            "and set precision.weights"
        )
    return reader(fields)


def _without_left_out(form: Format, fields: Fields) -> Format:
    """Without the parts that are left as they were in all layers or most: lists name either a
    pattern or every single module, so that a part counts as left out from the second entry on.
    There is one output head."""
    left = [str(item) for name in _LEFT_OUT for item in fields.items(name)]
    parts = tuple(part for part in form.parts if not _is_left_out(part, left))
    return replace(form, parts=parts)


def _is_left_out(part: Part, modules: list[str]) -> bool:
    named = _of_part(part, modules)
    return len(named) > (part is not Part.HEAD) or any(
        "*" in module or "re:" in module for module in named
    )


def _of_part(part: Part, modules: list[str]) -> list[str]:
    small = ("norm", "gate.", ".gate", "bias", "indexer", "_conv", "embed")
    return [
        module
        for module in modules
        if any(name in module for name in _NAMES[part])
        and not any(word in module.replace(".gate_proj", "") for word in small)
    ]


def _fp8(fields: Fields) -> Format:
    block = fields.items("weight_block_size")
    if len(block) == 2 and all(isinstance(side, int) and side > 0 for side in block):
        return replace(FORMATS["FP8"], group_rows=block[0], group_columns=block[1])
    return FORMATS["FP8"]


def _mxfp4(_: Fields) -> Format:
    return replace(FORMATS["MXFP4"], parts=EXPERTS)


def _packed(fields: Fields) -> Format:
    return _grouped(fields.size("bits", "w_bit", default=4), fields)


def _grouped(bits: int, fields: Fields) -> Format:
    """Integers of `bits` in groups with a 16-bit scale and a zero point as wide as a weight."""
    if bits not in (2, 3, 4, 8):
        raise UnknownModelError(f"config.json: quantization_config.bits is {bits}; known: 2 3 4 8")
    size = fields.size_or_none("group_size", "q_group_size", least=-1)
    group = 128 if size is None else max(size, WHOLE)
    symmetric = fields.flag("symmetric")
    return Format(f"INT{bits}", bits, 16 + (0 if symmetric else bits), group_columns=group)


def _compressed(fields: Fields) -> Format:
    """The first group of layers decides."""
    groups = fields.nested("config_groups").values
    first = next((one for one in groups.values() if isinstance(one, Mapping)), {})
    weights = Fields(first).nested("weights")
    packing = f"{fields.text('format')} {Fields(first).text('format')}"
    form = _compressed_weights(weights, packing)
    # Of linear layers the head is one, where nothing leaves it out.
    head = (Part.HEAD,) if "Linear" in Fields(first).items("targets") else ()
    return replace(form, parts=(*form.parts, *head))


def _compressed_weights(weights: Fields, packing: str) -> Format:
    bits = weights.size("num_bits", default=8)
    if weights.text("type") != "float":
        if weights.text("strategy") == "group" or weights.size_or_none("group_size", least=-1):
            return _grouped(bits, weights)
        return (
            FORMATS["INT8"] if bits == 8 else replace(_grouped(bits, weights), group_columns=WHOLE)
        )
    if bits == 4:
        return FORMATS["MXFP4" if "mxfp4" in packing else "NVFP4"]
    return FORMATS["FP8"]


def _modelopt(fields: Fields) -> Format:
    algorithm = fields.text("quant_algo").upper()
    if algorithm not in ("FP8", "NVFP4"):
        raise UnknownModelError(
            f"config.json: quantization_config.quant_algo {algorithm!r:.80} is not known; known "
            "are FP8 and NVFP4: give the config.json of the unquantized model and set "
            "precision.weights"
        )
    return FORMATS[algorithm]


def _bitsandbytes(fields: Fields) -> Format:
    four = fields.flag("load_in_4bit") or fields.flag("_load_in_4bit")
    return Format("INT4", 4, 32, group_columns=64) if four else FORMATS["INT8"]


_METHODS: Mapping[str, Callable[[Fields], Format]] = {
    "fp8": _fp8,
    "fbgemm_fp8": _fp8,
    "mxfp4": _mxfp4,
    "gptq": _packed,
    "awq": _packed,
    "compressed-tensors": _compressed,
    "modelopt": _modelopt,
    "NVFP4": _modelopt,
    "FP8": _modelopt,
    "bitsandbytes": _bitsandbytes,
}

"""In which format a checkpoint is published, from its quantization_config."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from plimsoll_planner.models.fields import Fields, UnknownModelError
from plimsoll_planner.models.formats import EXPERTS, FORMATS, WHOLE, Format

_DTYPES = {"float32": "FP32", "float": "FP32", "bfloat16": "BF16", "float16": "FP16"}


def checkpoint_format(config: Mapping[str, Any], text: Fields) -> Format:
    """The format of the published weights.

    `config` is the whole config.json, `text` the fields of the language model in it. Raises
    UnknownModelError where it names a way of quantizing that the planner does not know.
    """
    dtype = text.text("dtype") or text.text("torch_dtype")
    dtype = dtype or Fields(config).text("dtype") or Fields(config).text("torch_dtype")
    plain = FORMATS[_DTYPES.get(dtype, "BF16")]
    quantized = Fields(config).nested("quantization_config")
    if not quantized.values:
        quantized = text.nested("quantization_config")
    if not quantized.values:
        quantized = text.nested("compression_config")
    return _quantized(quantized) if quantized.values else plain


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


def _fp8(fields: Fields) -> Format:
    block = fields.items("weight_block_size")
    if len(block) == 2 and all(isinstance(side, int) and side > 0 for side in block):
        return replace(FORMATS["FP8"], group_rows=block[0], group_columns=block[1])
    return FORMATS["FP8"]


def _mxfp4(_: Fields) -> Format:
    return replace(FORMATS["MXFP4"], parts=EXPERTS)


def _packed(fields: Fields) -> Format:
    return _grouped(fields.size("bits", "w_bit", default=4), fields)


def _bitsandbytes(fields: Fields) -> Format:
    four = fields.flag("load_in_4bit") or fields.flag("_load_in_4bit")
    return Format("INT4", 4, 32, group_columns=64) if four else FORMATS["INT8"]


def _grouped(bits: int, fields: Fields) -> Format:
    """Integers of `bits` in groups with a 16-bit scale and a zero point as wide as a weight."""
    group = fields.values.get("group_size", fields.values.get("q_group_size", 128))
    columns = group if isinstance(group, int) and group > 0 else WHOLE
    if bits not in (2, 3, 4, 8):
        raise UnknownModelError(f"config.json: quantization_config.bits is {bits}; known: 2 3 4 8")
    return Format(f"INT{bits}", bits, 16 + bits, group_columns=columns)


def _compressed(fields: Fields) -> Format:
    """compressed-tensors: the first group of layers decides."""
    groups = fields.nested("config_groups").values
    first = next((one for one in groups.values() if isinstance(one, Mapping)), {})
    weights = Fields(first).nested("weights")
    bits = weights.size("num_bits", default=8)
    if weights.text("type") == "float":
        return FORMATS["FP8" if bits == 8 else "NVFP4"]
    return FORMATS["INT8"] if bits == 8 else _grouped(bits, weights)


def _modelopt(fields: Fields) -> Format:
    algorithm = fields.text("quant_algo").upper()
    return FORMATS["NVFP4" if "FP4" in algorithm else "FP8"]


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

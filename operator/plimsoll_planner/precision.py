"""The number formats of a replica: what is asked for, on what an accelerator can do."""

from dataclasses import dataclass

from plimsoll_planner.accelerators import CPU, Accelerator
from plimsoll_planner.inputs import PlanRequest
from plimsoll_planner.model_facts import INT8
from plimsoll_planner.performance.roofline import computes

AUTO = "Auto"
UNQUANTIZED = ("BF16", "FP16", "FP32")
"""Formats that any checkpoint in one of them can be loaded in."""


class PrecisionError(Exception):
    """An accelerator cannot serve in the formats asked for; the message has the way out."""


@dataclass(frozen=True)
class Precision:
    """Of weights and KV cache."""

    weights: str
    kv_cache: str


def precision(request: PlanRequest, accelerator: Accelerator, label: str) -> Precision:
    """The formats on an accelerator whose nodes carry `label`. Raises PrecisionError.

    Auto weights are what the checkpoint is published in, if that is quantized; else what the KV
    cache is asked in, or what the accelerator computes best in. An Auto KV cache has the format of
    unquantized weights; beside quantized ones it is in 16 bits where the accelerator has any. On
    `cpu` the engine makes unquantized weights INT8 if they are asked for so, which Auto never does,
    and of quantized checkpoints it reads what is `Model.compressed`; a KV cache in INT8 is for
    `cpu`, whatever the weights are.
    """
    weights, kv_cache = request.weights_precision, request.kv_cache_precision
    published, read = request.model.checkpoint.name, request.model.compressed
    computed = accelerator.precisions
    if kv_cache == INT8 and accelerator.name != CPU:
        raise PrecisionError(
            f"the engine keeps a KV cache in INT8 on {CPU} only, not on {label}: leave "
            "precision.kvCache Auto"
        )
    if weights == AUTO and published not in UNQUANTIZED:
        weights = published
    elif weights == AUTO:
        weights = computed[0] if kv_cache in (AUTO, INT8) else kv_cache
    if weights in UNQUANTIZED and read is not None:
        raise PrecisionError(
            f"precision.weights {weights}: the checkpoint is in {published}, and the engine keeps "
            "it so: leave precision.weights Auto, or take the unquantized checkpoint"
        )
    if weights in UNQUANTIZED:
        return _unquantized(weights, kv_cache, accelerator, label)
    if accelerator.name == CPU and weights == INT8 and (published in UNQUANTIZED or read):
        widened = read is not None and read.weight_only
        return _int8_on_cpu(kv_cache, accelerator, label, widened=widened)
    if accelerator.name == CPU and published not in UNQUANTIZED:
        raise PrecisionError(
            f"{label} does not compute with weights in {weights} of this checkpoint, which is in "
            f"{published}: take one in compressed-tensors' symmetric INT8 with a scale for each "
            "output or weight (W8A8, W8A16), or the unquantized one"
        )
    if accelerator.name == CPU or not computes(accelerator, weights):
        raise PrecisionError(
            f"{label} does not compute with weights in {weights}: use {' or '.join(computed)}"
        )
    if kv_cache == AUTO:
        kept = [name for name in UNQUANTIZED if accelerator.peaks.of(name) is not None]
        return Precision(weights, kept[0])
    if kv_cache not in computed:
        raise PrecisionError(f"{label} does not compute in {kv_cache}: use {' or '.join(computed)}")
    return Precision(weights, kv_cache)


def _int8_on_cpu(
    kv_cache: str, accelerator: Accelerator, label: str, *, widened: bool
) -> Precision:
    if not widened and accelerator.peaks.of(INT8) is None:
        raise PrecisionError(f"{label} does not compute in {INT8}: state spec.compute.int8 of it")
    if kv_cache not in (AUTO, INT8, "BF16"):
        raise PrecisionError(
            f"precision.kvCache {kv_cache} with precision.weights {INT8}: on {label} the engine "
            f"keeps its KV cache in BF16 or {INT8} beside these: leave precision.kvCache Auto"
        )
    return Precision(INT8, INT8 if kv_cache == INT8 else "BF16")


def _unquantized(weights: str, kv_cache: str, accelerator: Accelerator, label: str) -> Precision:
    if kv_cache not in (AUTO, INT8, weights):
        raise PrecisionError(
            f"precision.kvCache {kv_cache} with precision.weights {weights}: the engine keeps its "
            f"KV cache in the format of the weights or in {INT8}, so give both the same, or one of "
            "them Auto"
        )
    computed = accelerator.precisions
    halves = weights == "FP16" and accelerator.peaks.fp16 is not None
    if weights not in computed and not halves:
        raise PrecisionError(f"{label} does not compute in {weights}: use {' or '.join(computed)}")
    return Precision(weights, INT8 if kv_cache == INT8 else weights)

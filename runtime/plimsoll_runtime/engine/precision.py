"""Number formats of weights and KV cache: asked for, the checkpoint's, possible on a device."""

import torch

from plimsoll_runtime.core.kv_cache_dtype import KVCacheDtype
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.core.quantization import Quantization
from plimsoll_runtime.engine.options import EngineOptions


def choose_dtype(name: str, config: ModelConfig, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 for all checkpoints but float32 ones on CPU, which stay exact.

    float16 checkpoints become bfloat16, whose range holds theirs. On CUDA before compute
    capability 8.0 bfloat16 is emulated only, slower than float32, and `auto` is float32.
    """
    if name == "float32":
        return torch.float32
    if name == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float32
    return torch.float32 if config.dtype == "float32" else torch.bfloat16


def choose_kv_cache_dtype(options: EngineOptions, device: torch.device) -> KVCacheDtype:
    """Raises ValueError for int8 on GPUs, whose attention does not read it."""
    if options.kv_cache_dtype is KVCacheDtype.INT8 and device.type != "cpu":
        raise ValueError(
            f"kv_cache_dtype int8 is for CPU, and the device is {device.type}: leave it auto"
        )
    return options.kv_cache_dtype


def choose_quantization(
    options: EngineOptions, config: ModelConfig, device: torch.device
) -> Quantization:
    """What is to be done on loading. Raises ValueError for int8 on GPUs, where nothing multiplies
    with it, and where the checkpoint is quantized already."""
    chosen, quantized = options.quantization, config.compressed is not None
    if quantized and chosen is not Quantization.NONE:
        raise ValueError(
            f"quantization {chosen} is for unquantized checkpoints, and this one is in int8 "
            "already: leave it out"
        )
    if (quantized or chosen is not Quantization.NONE) and device.type != "cpu":
        what = "this checkpoint's int8" if quantized else f"quantization {chosen}"
        raise ValueError(
            f"{what} is for CPU, and the device is {device.type}: use --device cpu, or the "
            "unquantized model"
        )
    return chosen

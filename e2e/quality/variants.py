"""What is compared: ways to run the same model, the first of which is as it was published."""

from dataclasses import dataclass, replace

from plimsoll_runtime.core.kv_cache_dtype import KVCacheDtype
from plimsoll_runtime.core.quantization import Quantization
from plimsoll_runtime.engine.options import EngineOptions


@dataclass(frozen=True)
class Variant:
    """`serve` are the options of `plimsoll serve` that say the same as `options`."""

    serve: str
    options: EngineOptions


INT8 = KVCacheDtype.INT8
W8A8, W8A16 = Quantization.INT8, Quantization.INT8_WEIGHT_ONLY
BF16 = EngineOptions(device="cpu", dtype="bfloat16")
FP32 = EngineOptions(device="cpu", dtype="float32")
VARIANTS = (
    Variant("--dtype bfloat16", BF16),
    Variant("--dtype bfloat16 --kv-cache-dtype int8", replace(BF16, kv_cache_dtype=INT8)),
    Variant("--dtype float32", FP32),
    Variant("--dtype float32 --kv-cache-dtype int8", replace(FP32, kv_cache_dtype=INT8)),
    Variant("--dtype bfloat16 --quantization int8-weight-only", replace(BF16, quantization=W8A16)),
    Variant("--dtype bfloat16 --quantization int8", replace(BF16, quantization=W8A8)),
    Variant(
        "--dtype bfloat16 --quantization int8 --kv-cache-dtype int8",
        replace(BF16, quantization=W8A8, kv_cache_dtype=INT8),
    ),
    Variant("--dtype float32 --quantization int8", replace(FP32, quantization=W8A8)),
)

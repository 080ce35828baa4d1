"""What is compared: ways to run the same model, the first of which is as it was published."""

from dataclasses import dataclass

from plimsoll_runtime.core.kv_cache_dtype import KVCacheDtype
from plimsoll_runtime.engine.options import EngineOptions


@dataclass(frozen=True)
class Variant:
    """`serve` are the options of `plimsoll serve` that say the same as `options`."""

    serve: str
    options: EngineOptions


INT8 = KVCacheDtype.INT8
VARIANTS = (
    Variant("--dtype bfloat16", EngineOptions(device="cpu", dtype="bfloat16")),
    Variant(
        "--dtype bfloat16 --kv-cache-dtype int8",
        EngineOptions(device="cpu", dtype="bfloat16", kv_cache_dtype=INT8),
    ),
    Variant("--dtype float32", EngineOptions(device="cpu", dtype="float32")),
    Variant(
        "--dtype float32 --kv-cache-dtype int8",
        EngineOptions(device="cpu", dtype="float32", kv_cache_dtype=INT8),
    ),
)

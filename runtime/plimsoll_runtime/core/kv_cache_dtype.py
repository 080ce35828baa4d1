"""Number formats of the KV cache."""

from enum import StrEnum


class KVCacheDtype(StrEnum):
    """`AUTO` is the model's; `INT8` has a scale for each token's keys and values of a head."""

    AUTO = "auto"
    INT8 = "int8"


SCALE_BYTES = 4
"""Of one scale: fp32."""

"""Names of the ways to compute attention."""

from enum import StrEnum


class AttentionBackend(StrEnum):
    """`NATIVE` are the C++ kernels for CPU, `TRITON` is a kernel for GPUs, `TORCH` is plain torch;
    `AUTO` chooses."""

    AUTO = "auto"
    NATIVE = "native"
    TRITON = "triton"
    TORCH = "torch"

"""What the engine that this operator starts can run."""

from plimsoll_operator.extended_resources import GPU, MIG_PREFIX
from plimsoll_planner.accelerators import CPU
from plimsoll_planner.support import EngineSupport
from plimsoll_runtime.core.limits import MAX_TENSOR_PARALLEL_SIZE

ENGINE = EngineSupport(
    resources=(CPU, GPU, MIG_PREFIX),
    weights=("BF16", "FP32"),
    kv_cache=("INT8",),
    quantized=("INT8",),
    max_tensor_parallel_size=MAX_TENSOR_PARALLEL_SIZE,
)
"""Its image brings CUDA, and neither ROCm nor Gaudi's. It has no FP16: checkpoints in it are loaded
in BF16, whose range holds theirs, and in FP32 on GPUs that only emulate BF16, such as a T4."""

"""What a person or the operator may set on the engine; everything else is worked out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.kv_cache_dtype import KVCacheDtype
from plimsoll_runtime.core.limits import MAX_TENSOR_PARALLEL_SIZE
from plimsoll_runtime.core.quantization import Quantization
from plimsoll_runtime.core.speculation import SpeculativeConfig

DTYPES = ("auto", "bfloat16", "float32")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class EngineOptions:
    """Options with vLLM's names; None means "work it out".

    `kv_cache_memory_bytes` sizes the KV cache directly; without it, the cache gets a share of the
    memory that is free after loading (`gpu_memory_utilization` of the whole on CUDA). `threads`
    is for CPU only; None means the CPU limit of the container. `long_prefill_token_threshold` is
    explained at `EngineLimits`. Without `speculative_config` there are no drafts. Raises
    ValueError for a value that no model could take.
    """

    dtype: str = "auto"
    device: str = "auto"
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    long_prefill_token_threshold: int | None = None
    enable_prefix_caching: bool = True
    kv_cache_memory_bytes: int | None = None
    kv_cache_dtype: KVCacheDtype = KVCacheDtype.AUTO
    block_size: int = 16
    gpu_memory_utilization: float = 0.9
    tensor_parallel_size: int = 1
    seed: int = 0
    threads: int | None = None
    attention_backend: AttentionBackend = AttentionBackend.AUTO
    scheduling_policy: SchedulingPolicy = SchedulingPolicy.FAIR
    tenant_weights: Mapping[str, float] = field(default_factory=dict)
    speculative_config: SpeculativeConfig | None = None
    quantization: Quantization = Quantization.NONE

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        if self.device not in DEVICES:
            raise ValueError(f"device {self.device!r} is not one of {', '.join(DEVICES)}")
        for name in (
            "max_model_len",
            "max_num_seqs",
            "max_num_batched_tokens",
            "long_prefill_token_threshold",
            "kv_cache_memory_bytes",
            "block_size",
            "tensor_parallel_size",
            "threads",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if not 0 < self.gpu_memory_utilization <= 1:
            raise ValueError(
                "gpu_memory_utilization must be above 0 and at most 1, "
                f"not {self.gpu_memory_utilization}"
            )
        if self.tensor_parallel_size > MAX_TENSOR_PARALLEL_SIZE:
            raise ValueError(
                f"tensor_parallel_size {self.tensor_parallel_size} is more than one node's "
                f"accelerators; use at most {MAX_TENSOR_PARALLEL_SIZE}"
            )

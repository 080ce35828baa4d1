from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.core.cuda_graphs import CudaGraphs
from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.kv_cache_dtype import KVCacheDtype
from plimsoll_runtime.core.quantization import Quantization
from plimsoll_runtime.core.speculation import SpeculativeConfig, SpeculativeMethod
from plimsoll_runtime.engine.options import EngineOptions
from plimsoll_runtime.server.command import parser
from plimsoll_runtime.server.engine_options import engine_options


def read(*words: str) -> EngineOptions:
    return engine_options(parser().parse_args(["builtin://tiny", *words]))


def test_nothing_asked_for_gives_the_engines_own_defaults() -> None:
    assert read() == EngineOptions()


def test_every_option_reaches_the_engine() -> None:
    found = read(
        *("--dtype=float32", "--device=cpu", "--max-model-len=128", "--max-num-seqs=4"),
        *("--max-num-batched-tokens=64", "--long-prefill-token-threshold=32"),
        *("--kv-cache-memory-bytes=1024", "--kv-cache-dtype=int8", "--quantization=int8"),
        *("--block-size=32", "--gpu-memory-utilization=0.5", "--tensor-parallel-size=2"),
        *("--seed=7", "--threads=2", "--no-enable-prefix-caching", "--cuda-graphs=off"),
        *("--scheduling-policy=priority", "--tenant-weight=chat=2", "--tenant-weight=a=b=0.5"),
        "--attention-backend=torch",
        '--speculative-config={"method": "ngram", "num_speculative_tokens": 3}',
    )
    assert found == EngineOptions(
        dtype="float32",
        device="cpu",
        max_model_len=128,
        max_num_seqs=4,
        max_num_batched_tokens=64,
        long_prefill_token_threshold=32,
        enable_prefix_caching=False,
        kv_cache_memory_bytes=1024,
        kv_cache_dtype=KVCacheDtype.INT8,
        block_size=32,
        gpu_memory_utilization=0.5,
        tensor_parallel_size=2,
        seed=7,
        threads=2,
        attention_backend=AttentionBackend.TORCH,
        cuda_graphs=CudaGraphs.OFF,
        scheduling_policy=SchedulingPolicy.PRIORITY,
        tenant_weights={"chat": 2.0, "a=b": 0.5},
        speculative_config=SpeculativeConfig(SpeculativeMethod.NGRAM, 3),
        quantization=Quantization.INT8,
    )


def test_prefix_caching_can_be_asked_for_by_name() -> None:
    assert read("--enable-prefix-caching").enable_prefix_caching

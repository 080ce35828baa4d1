"""The options of `plimsoll serve` that are the engine's."""

import argparse
import math

from plimsoll_runtime.choices import one_of
from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.core.cuda_graphs import CudaGraphs
from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.kv_cache_dtype import KVCacheDtype
from plimsoll_runtime.core.quantization import Quantization
from plimsoll_runtime.core.speculation import SpeculativeConfig
from plimsoll_runtime.engine.options import DEVICES, DTYPES, EngineOptions
from plimsoll_runtime.server.speculative_config import read_speculative_config, with_draft_folder


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Adds them to `parser`, in a group of their own, with vLLM's names."""
    add = parser.add_argument_group("options of the engine").add_argument
    add("--dtype", choices=DTYPES, default="auto", help="type of weights and KV cache")
    add(
        "--quantization",
        type=one_of(Quantization),
        choices=list(Quantization),
        default=Quantization.NONE,
        help="what the layers' weights are made when they are loaded, on CPU: int8 with activations"
        " in int8, or int8-weight-only (%(default)s)",
    )
    add(
        "--kv-cache-dtype",
        type=one_of(KVCacheDtype),
        choices=list(KVCacheDtype),
        default=KVCacheDtype.AUTO,
        help="type of the KV cache, if another than of the weights; int8 is for CPU (%(default)s)",
    )
    add("--device", choices=DEVICES, default="auto", help="where the model runs")
    add("--max-model-len", type=int, metavar="N", help="most tokens of prompt and answer together")
    add("--max-num-seqs", type=int, metavar="N", help="most sequences in a step")
    add("--max-num-batched-tokens", type=int, metavar="N", help="most tokens in a step")
    add(
        "--long-prefill-token-threshold",
        type=int,
        metavar="N",
        help="most tokens of one prompt in a step while others wait (half of a step's)",
    )
    add(
        "--enable-prefix-caching",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep what was computed, for prompts that begin alike",
    )
    add(
        "--scheduling-policy",
        type=one_of(SchedulingPolicy),
        choices=list(SchedulingPolicy),
        default=SchedulingPolicy.FAIR,
        help="who is served first: tenants by turns, by priority, or by arrival (%(default)s)",
    )
    add(
        "--tenant-weight",
        action="append",
        type=_weight,
        default=[],
        metavar="NAME=WEIGHT",
        help="a tenant's share; 1 without",
    )
    add("--kv-cache-memory-bytes", type=int, metavar="N", help="size of the KV cache")
    add("--block-size", type=int, default=16, metavar="N", help="tokens in a KV cache block")
    add(
        "--gpu-memory-utilization",
        type=float,
        default=0.9,
        metavar="F",
        help="share of the GPU's memory to use (%(default)s)",
    )
    add("--tensor-parallel-size", type=int, default=1, metavar="N", help="GPUs in one replica")
    add(
        "--speculative-config",
        type=_speculative_config,
        metavar="JSON",
        help='who drafts tokens ahead, such as {"method": "ngram", "num_speculative_tokens": 4}',
    )
    add("--seed", type=int, default=0, help="seed of requests that bring none (%(default)s)")
    add("--threads", type=int, metavar="N", help="CPU threads of the model")
    add(
        "--attention-backend",
        type=one_of(AttentionBackend),
        choices=list(AttentionBackend),
        default=AttentionBackend.AUTO,
        help="C++ kernels for CPU, a Triton kernel for GPUs, plain torch, or what is best known to "
        "work (%(default)s)",
    )
    add(
        "--cuda-graphs",
        type=one_of(CudaGraphs),
        choices=list(CudaGraphs),
        default=CudaGraphs.AUTO,
        help="decode steps in one launch each, with the Triton kernel (%(default)s)",
    )


def engine_options(arguments: argparse.Namespace) -> EngineOptions:
    """What was asked of the engine, its draft model downloaded where need be.

    Raises ValueError where a value cannot be, or the draft model cannot be had.
    """
    return EngineOptions(
        dtype=arguments.dtype,
        quantization=arguments.quantization,
        device=arguments.device,
        max_model_len=arguments.max_model_len,
        max_num_seqs=arguments.max_num_seqs,
        max_num_batched_tokens=arguments.max_num_batched_tokens,
        long_prefill_token_threshold=arguments.long_prefill_token_threshold,
        enable_prefix_caching=arguments.enable_prefix_caching,
        kv_cache_memory_bytes=arguments.kv_cache_memory_bytes,
        kv_cache_dtype=arguments.kv_cache_dtype,
        block_size=arguments.block_size,
        gpu_memory_utilization=arguments.gpu_memory_utilization,
        tensor_parallel_size=arguments.tensor_parallel_size,
        seed=arguments.seed,
        threads=arguments.threads,
        attention_backend=arguments.attention_backend,
        cuda_graphs=arguments.cuda_graphs,
        scheduling_policy=arguments.scheduling_policy,
        tenant_weights=dict(arguments.tenant_weight),
        speculative_config=with_draft_folder(arguments.speculative_config),
    )


def _speculative_config(text: str) -> SpeculativeConfig:
    try:
        return read_speculative_config(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _weight(text: str) -> tuple[str, float]:
    name, _, weight = text.rpartition("=")
    try:
        value = float(weight)
    except ValueError:
        value = 0.0
    if not name or not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=WEIGHT with a weight above 0")
    return name, value

"""From a model's folder and options to an engine: dtype, device, limits, size of the cache."""

import logging
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from plimsoll_runtime.attention.kv_cache import KVCache, bytes_per_block
from plimsoll_runtime.core.cuda_graphs import WORKSPACE_BYTES, graph_bytes, why_no_graphs
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.core.partition import shard_config
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.engine.cuda_recorder import capture_graphs
from plimsoll_runtime.engine.drafting import Drafting
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.grammar import GrammarCompiler
from plimsoll_runtime.engine.host import cpu_limit, free_memory
from plimsoll_runtime.engine.options import EngineOptions
from plimsoll_runtime.engine.precision import (
    choose_dtype,
    choose_kv_cache_dtype,
    choose_quantization,
)
from plimsoll_runtime.engine.rank_channel import Allocate, Allocated, Budget, Loaded, Measure
from plimsoll_runtime.engine.ranks import Ranks
from plimsoll_runtime.engine.runner import ModelRunner
from plimsoll_runtime.engine.tensor_parallel import TensorParallelRunner
from plimsoll_runtime.model.llama import LlamaForCausalLM
from plimsoll_runtime.model.loader import load_model, read_model_config

logger = logging.getLogger(__name__)

# Without --kv-cache-memory-bytes on CPU: the rest is for activations and for others.
CPU_MEMORY_SHARE = 0.5
DEFAULT_MAX_NUM_SEQS = {"cpu": 32, "cuda": 256}
DEFAULT_MAX_NUM_BATCHED_TOKENS = {"cpu": 512, "cuda": 8192}


@dataclass(frozen=True)
class StepLimits:
    """The limits that do not depend on memory."""

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int


def load_engine(model_dir: Path, options: EngineOptions) -> Engine:
    """Loads the model and makes an engine that is to be started; takes as long as loading takes.

    Raises UnsupportedModelError or WeightsError for the model, and ValueError when the options
    contradict each other, the model or the machine.
    """
    config = read_model_config(model_dir)
    size = options.tensor_parallel_size
    shard = shard_config(config, size)
    device = rank_device(choose_device(options.device), 0, size)
    dtype = choose_dtype(options.dtype, config, device)
    quantization = choose_quantization(options, config, device)
    kv_cache_dtype = choose_kv_cache_dtype(options, device)
    shape = choose_limits(options, config, device)
    threads = rank_threads(options, device)
    drafting = Drafting(options.speculative_config, config)
    block_bytes = bytes_per_block(shard, options.block_size, dtype, kv_cache_dtype)
    own_block_bytes = block_bytes + drafting.block_bytes(options.block_size, dtype, kv_cache_dtype)
    num_blocks = None
    if options.kv_cache_memory_bytes is not None:
        num_blocks = options.kv_cache_memory_bytes // own_block_bytes
        # Tell what is wrong before minutes go by with reading weights.
        fit_limits(shape, options, num_blocks)
        check_room(num_blocks * own_block_bytes, options, device)
    with ExitStack() as on_error:
        ranks = Ranks(model_dir, options, device, threads)
        on_error.callback(ranks.close)
        model = load_model(
            model_dir,
            config,
            dtype=dtype,
            device=device,
            max_model_len=shape.max_model_len,
            group=ranks.connect(),
            quantization=quantization,
            backend=options.attention_backend,
        )
        drafting.load(dtype, device, shape.max_model_len)
        ranks.collect(Loaded)
        if num_blocks is None:
            ranks.send(Measure())
            own = available_bytes(options, model, shape, dtype, device)
            others = [each.available // block_bytes for each in ranks.collect(Budget)]
            num_blocks = min([own // own_block_bytes, *others])
        limits = fit_limits(shape, options, num_blocks)
        check_room(limits.num_blocks * own_block_bytes, options, device)
        ranks.send(Allocate(limits.num_blocks))
        cache = KVCache.allocate(
            shard, limits.num_blocks, options.block_size, dtype, device, kv_cache_dtype
        )
        ranks.collect(Allocated)
        scheduler = Scheduler(
            limits,
            policy=options.scheduling_policy,
            tenant_weights=options.tenant_weights,
            speculation=options.speculative_config,
        )
        backend = options.attention_backend
        proposer = drafting.proposer(
            limits.num_blocks, limits.block_size, dtype, device, backend, kv_cache_dtype
        )
        grammars = GrammarCompiler(
            (model_dir / "tokenizer.json").read_text, config.vocab_size, config.eos_token_ids
        )
        if size == 1:
            runner = ModelRunner(
                model,
                cache,
                device,
                threads,
                grammars,
                proposer=proposer,
                attention_backend=backend,
            )
        else:
            runner = TensorParallelRunner(
                model=model,
                cache=cache,
                device=device,
                threads=threads,
                grammars=grammars,
                ranks=ranks,
                proposer=proposer,
                attention_backend=backend,
            )
        engine = Engine(scheduler, runner, config, grammars=grammars, seed=options.seed)
        engine.attention_path = _capture(runner, options, limits.max_num_seqs)
        engine.on_end = ranks.close
        engine.spare_work = cache.take_memory()
        on_error.pop_all()
    ranks.watch(engine.fail)
    logger.info(
        "%s on %d × %s: %d blocks of %d tokens, %.2f GiB of KV cache on each, sequences of at most "
        "%d tokens",
        dtype,
        size,
        device.type,
        limits.num_blocks,
        limits.block_size,
        limits.num_blocks * own_block_bytes / 2**30,
        limits.max_model_len,
    )
    return engine


def _capture(runner: ModelRunner, options: EngineOptions, max_num_seqs: int) -> str:
    """Makes CUDA graphs where there can be any. Returns how steps are computed, for people."""
    reason = _why_no_graphs(options, runner.device)
    if reason is None:
        capture_graphs(runner, max_num_seqs, options.attention_backend)
    elif runner.device.type == "cuda":
        return f"{runner.attention_path}, no CUDA graphs: {reason}"
    return runner.attention_path


def _why_no_graphs(options: EngineOptions, device: torch.device) -> str | None:
    ranks, backend = options.tensor_parallel_size, options.attention_backend
    return why_no_graphs(options.cuda_graphs, device.type, backend, ranks)


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one. Raises ValueError when `cuda` is asked for in vain."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but torch finds no CUDA device; use cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def rank_device(device: torch.device, rank: int, size: int) -> torch.device:
    """The device of a rank: its own GPU. Raises ValueError when there are too few."""
    if device.type == "cpu" or size == 1:
        return device
    count = torch.cuda.device_count()
    if size > count:
        raise ValueError(f"tensor_parallel_size {size} needs as many GPUs, and torch finds {count}")
    return torch.device("cuda", rank)


def rank_threads(options: EngineOptions, device: torch.device) -> int | None:
    """CPU threads of each rank: its share of those of the engine. None leaves torch's setting."""
    threads = options.threads
    if device.type == "cpu":
        threads = threads or cpu_limit()
    return None if threads is None else max(1, threads // options.tensor_parallel_size)


def fit_limits(shape: StepLimits, options: EngineOptions, num_blocks: int) -> EngineLimits:
    """Limits for a cache that may have `num_blocks` blocks.

    Where the options leave it open, the longest sequence becomes what the cache holds, and the
    cache no larger than all sequences at their longest. Raises ValueError when not even one block
    fits or the options contradict each other.
    """
    size = options.block_size
    if num_blocks < 1:
        raise ValueError(
            f"the KV cache's memory does not hold one block of {size} tokens: give "
            "--kv-cache-memory-bytes more, or the machine more memory"
        )
    max_model_len = shape.max_model_len
    if options.max_model_len is None:
        max_model_len = min(max_model_len, num_blocks * size)
    if options.kv_cache_memory_bytes is None:
        # One block more for each sequence, so that admission's spare blocks never bind.
        longest = -(-max_model_len // size) + 1
        num_blocks = min(num_blocks, shape.max_num_seqs * longest)
    return EngineLimits(
        max_num_seqs=shape.max_num_seqs,
        max_num_batched_tokens=shape.max_num_batched_tokens,
        max_model_len=max_model_len,
        num_blocks=num_blocks,
        block_size=size,
        enable_prefix_caching=options.enable_prefix_caching,
        long_prefill_token_threshold=options.long_prefill_token_threshold,
    )


def check_room(cache_bytes: int, options: EngineOptions, device: torch.device) -> None:
    """By counting: the memory of a KV cache on CPU is taken while the engine serves.

    Raises MemoryError when the machine, or the container, has less left for all ranks' caches than
    they will take.
    """
    if device.type != "cpu":
        return
    needed, free = cache_bytes * options.tensor_parallel_size, free_memory()
    if needed > free:
        raise MemoryError(
            f"the KV cache takes {needed / 2**30:.2f} GiB, and {free / 2**30:.2f} GiB of memory "
            "are left: give --kv-cache-memory-bytes less, or the container or machine more memory"
        )


def choose_limits(options: EngineOptions, config: ModelConfig, device: torch.device) -> StepLimits:
    """Fills in what the options leave open. Raises ValueError beyond the model's positions."""
    limit = config.max_position_embeddings
    if options.max_model_len is not None and options.max_model_len > limit:
        raise ValueError(
            f"max_model_len {options.max_model_len} is more than the model was made for; its "
            f"max_position_embeddings is {limit}"
        )
    seqs = options.max_num_seqs or DEFAULT_MAX_NUM_SEQS[device.type]
    tokens = options.max_num_batched_tokens
    if tokens is None:
        tokens = max(DEFAULT_MAX_NUM_BATCHED_TOKENS[device.type], seqs)
    elif options.max_num_seqs is None:
        seqs = min(seqs, tokens)
    return StepLimits(seqs, tokens, options.max_model_len or limit)


def available_bytes(
    options: EngineOptions,
    model: LlamaForCausalLM,
    shape: StepLimits,
    dtype: torch.dtype,
    device: torch.device,
) -> int:
    """What is left for a rank's KV cache after weights, and on CUDA after the largest step.

    All ranks must call it at the same time, since they run that step together.
    """
    if device.type == "cpu":
        return int(free_memory() * CPU_MEMORY_SHARE) // options.tensor_parallel_size
    shard = shard_config(model.config, options.tensor_parallel_size)
    blocks = -(-shape.max_num_batched_tokens // options.block_size)
    longest = min(shape.max_model_len, blocks * options.block_size)
    limits = fit_limits(replace(shape, max_model_len=longest), options, blocks)
    torch.cuda.reset_peak_memory_stats(device)
    cache = KVCache.allocate(shard, blocks, options.block_size, dtype, device)
    ModelRunner(model, cache, device).profile(limits, options.speculative_config)
    torch.cuda.synchronize(device)
    cache_bytes = cache.nbytes
    peak = torch.cuda.max_memory_reserved(device) - cache_bytes
    del cache
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    others = total - free - torch.cuda.memory_reserved(device)
    graphs = 0
    if _why_no_graphs(options, device) is None:
        graphs = graph_bytes(model.config.num_layers) + WORKSPACE_BYTES
    return int(total * options.gpu_memory_utilization) - peak - others - graphs

"""Limits of an engine, from its options, its model and its cache."""

from dataclasses import dataclass

import torch

from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.engine.options import EngineOptions

DEFAULT_MAX_NUM_SEQS = {"cpu": 32, "cuda": 256}
DEFAULT_MAX_NUM_BATCHED_TOKENS = {"cpu": 512, "cuda": 8192}


@dataclass(frozen=True)
class StepLimits:
    """The limits that do not depend on memory."""

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int


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

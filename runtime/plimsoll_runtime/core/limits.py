"""The limits that the engine runs under; the planner decides them, the operator passes them."""

from dataclasses import dataclass, replace
from typing import NamedTuple

MAX_TENSOR_PARALLEL_SIZE = 8
"""Accelerators that one engine can share a model among: those of one node, with one process each.
The planner sizes more; the operator starts no pod that could only crash."""

FIELDS = ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "num_blocks", "block_size")


class LiveLimits(NamedTuple):
    """The limits that may change while the engine serves; `num_usable_blocks` of its blocks."""

    max_num_seqs: int
    max_num_batched_tokens: int
    num_usable_blocks: int


@dataclass(frozen=True)
class EngineLimits:
    """`num_blocks` blocks of `block_size` tokens are the whole KV cache.

    A prompt with more than `long_prefill_token_threshold` tokens to go gets no more than that in
    a step while other prompts can use the rest; by default half of `max_num_batched_tokens`.
    Raises ValueError when the limits contradict each other.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    num_blocks: int
    block_size: int = 16
    enable_prefix_caching: bool = True
    long_prefill_token_threshold: int | None = None

    def __post_init__(self) -> None:
        for name in FIELDS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        threshold = self.long_prefill_token_threshold
        if threshold is not None and threshold < 1:
            raise ValueError(f"long_prefill_token_threshold must be at least 1, not {threshold}")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens {self.max_num_batched_tokens} is smaller than "
                f"max_num_seqs {self.max_num_seqs}, so not every sequence could get its next "
                "token: raise --max-num-batched-tokens or lower --max-num-seqs"
            )
        if self.num_blocks * self.block_size < self.max_model_len:
            raise ValueError(
                f"KV cache of {self.num_blocks * self.block_size} tokens is smaller than "
                f"max_model_len {self.max_model_len}: lower --max-model-len or give "
                "--kv-cache-memory-bytes more"
            )

    @property
    def prefill_share(self) -> int:
        """Tokens of one prompt in a step while other prompts can use the rest."""
        return self.long_prefill_token_threshold or -(-self.max_num_batched_tokens // 2)

    @property
    def live(self) -> LiveLimits:
        """The part that may change, as it is at the start."""
        return LiveLimits(self.max_num_seqs, self.max_num_batched_tokens, self.num_blocks)

    def check_live(self, live: LiveLimits) -> None:
        """Raises ValueError unless an engine that was started with these limits can take `live`.

        No limit may go beyond what the engine was started with: memory for a step was measured
        then. And the longest sequence must still fit, or it could never be served.
        """
        for name, value, most in zip(LiveLimits._fields, live, self.live, strict=True):
            if value > most:
                raise ValueError(
                    f"{name} {value} is more than the {most} that the engine was started with: "
                    "start it with more"
                )
        if live.num_usable_blocks < 1:
            raise ValueError(f"num_usable_blocks must be at least 1, not {live.num_usable_blocks}")
        replace(
            self,
            max_num_seqs=live.max_num_seqs,
            max_num_batched_tokens=live.max_num_batched_tokens,
            num_blocks=live.num_usable_blocks,
        )

"""What the engine tells about itself."""

from dataclasses import dataclass
from typing import NamedTuple


class StepSample(NamedTuple):
    """One measured step, for calibration of the performance model.

    `num_tokens` were computed for `num_seqs` sequences, attending to `num_context_tokens` tokens
    of KV cache in sum, in `seconds` of model and sampling time.
    """

    num_tokens: int
    num_context_tokens: int
    num_seqs: int
    seconds: float


@dataclass(frozen=True)
class EngineStats:
    """A snapshot. Counters count from the start of the engine.

    `kv_cache_usage` is between 0 and 1. `last_step_time` is when the step loop last moved, in
    seconds of the monotonic clock; `stalled_seconds` how long ago that was while requests are
    unfinished, else 0. `prefix_cache_queries` are the tokens of all requests that were admitted,
    `prefix_cache_hits` those of them that were in the KV cache then. `step_samples` are the latest
    ones, oldest first.
    """

    num_running: int
    num_waiting: int
    kv_cache_usage: float
    num_blocks: int
    block_size: int
    num_preemptions: int
    prefix_cache_queries: int
    prefix_cache_hits: int
    num_steps: int
    last_step_time: float
    stalled_seconds: float
    step_samples: tuple[StepSample, ...]

"""What the engine tells about itself."""

from collections.abc import Mapping
from typing import NamedTuple

from plimsoll_runtime.core.admission import Load
from plimsoll_runtime.core.limits import LiveLimits
from plimsoll_runtime.core.queue import QueueCount
from plimsoll_runtime.core.speculation import AcceptedDrafts, SpeculativeConfig

MAX_STEP_SAMPLES = 1024
"""The latest steps that are remembered."""

RECENT_STEPS = 32
"""Steps whose mean duration says how long the next ones take."""


class StepSample(NamedTuple):
    """One measured step, for calibration of the performance model.

    `num_tokens` were computed for `num_seqs` sequences, attending to `num_context_tokens` tokens of
    KV cache in sum, which are `num_pairs` of a token with one that it attends to. `seconds` are
    those from the step before, or from when there was work again, until the tokens were handed out:
    scheduling, model, sampling and delivery. Drafts count as tokens, and making them as time.
    """

    num_tokens: int
    num_context_tokens: int
    num_pairs: int
    num_seqs: int
    seconds: float


class SpeculationStats(NamedTuple):
    """`num_drafts` times a request had drafts in a step, `num_draft_tokens` in sum; by position
    among a request's drafts, how many were accepted."""

    num_drafts: int
    num_draft_tokens: int
    accepted_by_position: tuple[int, ...]

    @classmethod
    def start(cls, config: SpeculativeConfig | None) -> "SpeculationStats | None":
        """Before the first step; None where there are no drafts."""
        return None if config is None else cls(0, 0, (0,) * config.num_speculative_tokens)

    @property
    def num_accepted_tokens(self) -> int:
        """Drafts that were accepted."""
        return sum(self.accepted_by_position)

    def plus(
        self, num_drafts: Mapping[str, int], accepted: Mapping[str, AcceptedDrafts]
    ) -> "SpeculationStats":
        """With what one step checked, by request."""
        counts = list(self.accepted_by_position)
        for each in accepted.values():
            for position in range(len(each.token_ids)):
                counts[position] += 1
        return SpeculationStats(
            self.num_drafts + len(num_drafts),
            self.num_draft_tokens + sum(num_drafts.values()),
            tuple(counts),
        )


class EngineStats(NamedTuple):
    """A snapshot. Counters count from the start of the engine.

    `kv_cache_usage` is between 0 and 1. `last_step_time` is when the step loop last moved, in
    seconds of the monotonic clock; `stalled_seconds` how long ago that was while requests are
    unfinished, else 0. `prefix_cache_queries` are the tokens of all requests that were admitted,
    `prefix_cache_hits` those of them that were in the KV cache then. `waiting` are the same
    requests as `num_waiting`, by tenant and priority. `mean_output_tokens` leans on those that
    ended last, and so do `mean_output_steps`, in which drafts that were accepted do not count; None
    before the first. `speculation` is None where there are no drafts.
    `step_samples` are the latest ones, oldest first.
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
    limits: LiveLimits
    waiting: tuple[QueueCount, ...]
    mean_output_tokens: float | None
    mean_output_steps: float | None = None
    speculation: SpeculationStats | None = None

    @property
    def load(self) -> Load:
        """What admission needs to know."""
        recent = self.step_samples[-RECENT_STEPS:]
        seconds = sum(sample.seconds for sample in recent)
        return Load(
            self.limits,
            self.block_size,
            self.num_running,
            self.waiting,
            self.mean_output_tokens,
            seconds / len(recent) if recent else None,
            self.mean_output_steps,
        )

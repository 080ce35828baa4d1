"""A generation request and what comes back for it: plain data, without torch."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from plimsoll_runtime.core.blocks import BlockKey, CachedBlock


class FinishReason(StrEnum):
    """Why a request ended. `stop` and `length` are OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    ERROR = "error"


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are chosen. `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 are off.

    `stop_token_ids` end the request with reason `stop`, after `min_tokens`; the token itself is
    part of the output ids. Stop *strings* are matched by the server, which sees text.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    min_tokens: int = 0
    stop_token_ids: frozenset[int] = frozenset()


@dataclass
class Request:
    """One sequence. Everything below the line belongs to the scheduler alone.

    `num_computed_tokens` chases `num_tokens`: prefill, chunked prefill, decode and resuming after
    preemption are the same arithmetic. `block_ids` is the block table, one id for each
    `block_size` tokens. A smaller `priority` is more urgent, as in vLLM; `arrival_time` is in
    seconds of the engine's monotonic clock; `sequence` numbers requests as the scheduler gets them.
    Only requests with the same `cache_salt` share blocks. `tenant` is whose turn it takes; the
    scheduler may replace a name that it does not keep apart. `admission` numbers requests as they
    are first admitted, 0 until then. `prefix` is the last of the blocks that
    can be found by others, `block_keys` are the keys of the full ones as far as they are known;
    `num_cached_tokens` of the prompt were found when the request was first admitted.
    """

    request_id: str
    prompt_token_ids: list[int]
    sampling: SamplingParams
    arrival_time: float
    priority: int = 0
    cache_salt: str = ""
    tenant: str = ""
    # --
    output_token_ids: list[int] = field(default_factory=list)
    num_computed_tokens: int = 0
    block_ids: list[int] = field(default_factory=list)
    prefix: CachedBlock | None = None
    block_keys: list[BlockKey] = field(default_factory=list, repr=False)
    num_cached_tokens: int = 0
    num_preemptions: int = 0
    sequence: int = 0
    admission: int = 0
    first_scheduled_time: float | None = None
    finish_reason: FinishReason | None = None

    @property
    def num_tokens(self) -> int:
        """Prompt and output tokens known so far."""
        return len(self.prompt_token_ids) + len(self.output_token_ids)

    def token_ids(self, start: int, stop: int) -> list[int]:
        """The known tokens at positions `start` to `stop`, prompt and output as one sequence."""
        split = len(self.prompt_token_ids)
        if start >= split:
            return self.output_token_ids[start - split : stop - split]
        if stop <= split:
            return self.prompt_token_ids[start:stop]
        return self.prompt_token_ids[start:] + self.output_token_ids[: stop - split]


class RequestOutput(NamedTuple):
    """What one step gave one request. `finish_reason` is set on the last one only.

    `error` is a message fit for the client, with reason `error`. Times are the engine's monotonic
    clock in seconds: `first_scheduled_time` is when the request left the queue. `cached_tokens` of
    the prompt were in the KV cache then.
    """

    request_id: str
    new_token_ids: tuple[int, ...]
    finish_reason: FinishReason | None = None
    error: str | None = None
    first_scheduled_time: float | None = None
    num_preemptions: int = 0
    cached_tokens: int = 0

"""A generation request and what comes back for it: plain data, without torch."""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from plimsoll_runtime.core.blocks import BlockKey, CachedBlock
from plimsoll_runtime.core.pooling import Pooling


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
    part of the output ids. Stop *strings* are matched by the server, which sees text. With
    `max_tokens` 0 the prompt is computed and nothing is chosen.

    `presence_penalty` and `frequency_penalty` look at the output, `repetition_penalty` at the
    prompt as well. `logit_bias` are pairs of a token id and what is added to its logit.
    Of `allowed_token_ids` the token must be one; empty allows all. `bad_words` are sequences of
    ids that must not be completed. `grammar` is one in llguidance's JSON form, which the output
    follows to its end. `logprobs` is how many of the likeliest tokens are told beside the chosen
    one; None tells nothing. `prompt_logprobs` is the same for the prompt. With `pooling`, which
    takes `max_tokens` 0, the prompt becomes a vector.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    min_tokens: int = 0
    stop_token_ids: frozenset[int] = frozenset()
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    allowed_token_ids: tuple[int, ...] = ()
    bad_words: tuple[tuple[int, ...], ...] = ()
    grammar: str | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    pooling: Pooling | None = None

    @cached_property
    def needs_whole_prompt(self) -> bool:
        """Whether more is wanted of the prompt than its keys and values, which may be cached."""
        return self.prompt_logprobs is not None or (
            self.pooling is not None and self.pooling.needs_whole_prompt
        )

    @cached_property
    def has_penalties(self) -> bool:
        """Whether the tokens so far change what may come next."""
        return (
            self.presence_penalty != 0.0
            or self.frequency_penalty != 0.0
            or self.repetition_penalty != 1.0
        )

    @cached_property
    def needs_history(self) -> bool:
        """Whether choosing a token takes those before it, and not their logits alone."""
        return self.has_penalties or bool(self.bad_words) or self.grammar is not None

    @cached_property
    def changes_logits(self) -> bool:
        """Whether tokens are chosen from other logits than the model's, at every step."""
        return self.needs_history or bool(self.logit_bias) or bool(self.allowed_token_ids)

    def check_tokens(self, vocab_size: int) -> None:
        """Raises ValueError when a token id here is not in the vocabulary.

        Stop tokens are left out: one that does not exist never comes.
        """
        named = {
            "logit_bias": [token_id for token_id, _ in self.logit_bias],
            "allowed_token_ids": self.allowed_token_ids,
            "bad_words": [token_id for word in self.bad_words for token_id in word],
        }
        for name, token_ids in named.items():
            wrong = [each for each in token_ids if not 0 <= each < vocab_size]
            if wrong:
                raise ValueError(
                    f"{name}: token id {wrong[0]} is not in the vocabulary of {vocab_size} tokens"
                )


class TokenLogprobs(NamedTuple):
    """Log-probabilities (natural) at one position, of the distribution before temperature,
    penalties and masks: of the token that stands there and of the likeliest, best first."""

    token_id: int
    logprob: float
    rank: int
    top: tuple[tuple[int, float], ...] = ()


class RequestOutput(NamedTuple):
    """What one step gave one request. `finish_reason` is set on the last one only.

    `error` is a message fit for the client, with reason `error`; it was `refused` when the request
    itself is to blame, so that sending it again would not help. Times are the engine's monotonic
    clock in seconds: `first_scheduled_time` is when the request left the queue. `cached_tokens` of
    the prompt were in the KV cache then. `logprobs` has an entry for each new token where they
    were asked for. `prompt_logprobs` come in pieces, from the prompt's second token on: nothing
    is before the first. `pooled` is a vector, fp32 and little-endian; the sum of them all is what
    `pooling` makes of the prompt.
    """

    request_id: str
    new_token_ids: tuple[int, ...]
    finish_reason: FinishReason | None = None
    error: str | None = None
    first_scheduled_time: float | None = None
    num_preemptions: int = 0
    cached_tokens: int = 0
    logprobs: tuple[TokenLogprobs, ...] | None = None
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()
    refused: bool = False
    pooled: bytes = b""


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
    `num_cached_tokens` of the prompt were found when the request was first admitted. Where prompt
    logprobs are wanted, `num_scored_tokens` after the prompt's first have been given theirs; of the
    positions that `pooling` takes, `num_pooled_tokens` have been summed. Of the output,
    `num_accepted_drafts` took no step of their own.
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
    num_scored_tokens: int = 0
    num_pooled_tokens: int = 0
    num_accepted_drafts: int = 0
    num_preemptions: int = 0
    sequence: int = 0
    admission: int = 0
    first_scheduled_time: float | None = None
    finish_reason: FinishReason | None = None

    @property
    def num_tokens(self) -> int:
        """Prompt and output tokens known so far."""
        return len(self.prompt_token_ids) + len(self.output_token_ids)

    def num_outputs_left(self, max_model_len: int) -> int:
        """How many tokens it may still be given, where no sequence may be longer than that."""
        return min(
            self.sampling.max_tokens - len(self.output_token_ids), max_model_len - self.num_tokens
        )

    def token_ids(self, start: int, stop: int) -> list[int]:
        """The known tokens at positions `start` to `stop`, prompt and output as one sequence."""
        split = len(self.prompt_token_ids)
        if start >= split:
            return self.output_token_ids[start - split : stop - split]
        if stop <= split:
            return self.prompt_token_ids[start:stop]
        return self.prompt_token_ids[start:] + self.output_token_ids[: stop - split]

    def output(
        self,
        token_ids: tuple[int, ...],
        reason: FinishReason | None,
        error: str | None = None,
        logprobs: tuple[TokenLogprobs, ...] | None = None,
        prompt_logprobs: tuple[TokenLogprobs, ...] = (),
    ) -> RequestOutput:
        """What a step gave the request."""
        # By place: this is done for every token.
        return RequestOutput(
            self.request_id,
            token_ids,
            reason,
            error,
            self.first_scheduled_time,
            self.num_preemptions,
            self.num_cached_tokens,
            logprobs,
            prompt_logprobs,
        )

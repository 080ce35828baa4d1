"""One step as plain data: what is computed for which request, and what of it is wanted back."""

from dataclasses import dataclass, field
from typing import NamedTuple

from plimsoll_runtime.core.pooling import PooledSpan, Pooling, pooled_span
from plimsoll_runtime.core.request import Request, SamplingParams


class TokenHistory(NamedTuple):
    """The known tokens of a request whose next token depends on them."""

    prompt_token_ids: list[int]
    output_token_ids: list[int]


class PromptTargets(NamedTuple):
    """Prompt tokens to be scored: the logits of position `start + i` judge `token_ids[i]`."""

    start: int
    token_ids: list[int]


class ScheduledRequest(NamedTuple):
    """What one step computes for one request.

    `token_ids` are the tokens at positions `start`, `start + 1`, …; their keys and values go into
    `block_ids`, the block table, which covers every position up to the last of them. When
    `samples` is true, the logits of the last position choose the output token with index
    `output_index`. `history` is there when that choice needs it, `targets` when prompt logprobs
    are wanted of what this step computes, `pooled` when hidden states of it are.

    Up to `max_drafts` guesses may follow `token_ids` and be checked in the same step: `block_ids`
    covers them too, and `history` is there for who guesses. Of what whoever runs the step makes of
    it, the last `num_drafts` of `token_ids` are guesses.
    """

    request_id: str
    token_ids: list[int]
    start: int
    block_ids: list[int]
    samples: bool
    output_index: int
    sampling: SamplingParams
    history: TokenHistory | None = None
    targets: PromptTargets | None = None
    pooled: PooledSpan | None = None
    max_drafts: int = 0
    num_drafts: int = 0


@dataclass(frozen=True)
class SchedulerOutput:
    """One step as plain data: those that decode one token first, then the chunks of prompts.

    `num_tokens` are the tokens to compute; `num_context_tokens` the tokens in the KV cache that
    they attend to, themselves included, summed over the requests. `max_draft_tokens` may come on
    top of both.
    """

    scheduled: list[ScheduledRequest] = field(default_factory=list)
    preempted: list[str] = field(default_factory=list)
    num_tokens: int = 0
    num_context_tokens: int = 0
    max_draft_tokens: int = 0


def scheduled_part(request: Request, budget: int) -> ScheduledRequest:
    """The next tokens of a request that holds the blocks for them, at most `budget`."""
    start = request.num_computed_tokens
    num_tokens = request.num_tokens
    stop = min(start + budget, num_tokens)
    sampling = request.sampling
    samples = stop == num_tokens and sampling.max_tokens > 0
    history = None
    if samples and sampling.needs_history:
        history = history_of(request)
    return ScheduledRequest(
        request.request_id,
        request.token_ids(start, stop),
        start,
        request.block_ids.copy(),
        samples,
        len(request.output_token_ids),
        sampling,
        history,
        None if sampling.prompt_logprobs is None else _targets(request, start, stop),
        None if sampling.pooling is None else _pooled(request, sampling.pooling, start, stop),
    )


def history_of(request: Request) -> TokenHistory:
    """Its tokens as they are now."""
    return TokenHistory(request.prompt_token_ids, request.output_token_ids.copy())


def _pooled(request: Request, pooling: Pooling, start: int, stop: int) -> PooledSpan | None:
    length = len(request.prompt_token_ids)
    return pooled_span(pooling, length, request.num_pooled_tokens, start, stop)


def _targets(request: Request, start: int, stop: int) -> PromptTargets | None:
    """What positions `start` to `stop` say of prompt tokens that are not scored yet.

    After a preemption positions are computed again whose logprobs have been given.
    """
    first = max(start, request.num_scored_tokens)
    last = min(stop, len(request.prompt_token_ids) - 1)
    if first >= last:
        return None
    return PromptTargets(first, request.prompt_token_ids[first + 1 : last + 1])

"""From the logits of one step to its tokens, with what was asked to be told about them."""

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from torch import Tensor

from plimsoll_runtime.core.request import TokenLogprobs
from plimsoll_runtime.core.speculation import AcceptedDrafts
from plimsoll_runtime.core.step import ScheduledRequest
from plimsoll_runtime.engine.drafts import num_accepted, rows_of
from plimsoll_runtime.engine.grammar import GrammarCompiler
from plimsoll_runtime.engine.logprobs import token_logprobs
from plimsoll_runtime.engine.processors import LogitProcessors
from plimsoll_runtime.engine.sampler import TORCH_SAMPLER, Sampler, SampleRow, Scan, sample

NOT_FINITE = "the model's logits are not finite for this request"


class Choices(NamedTuple):
    """By request: a token, or an error message, or why what it asks for leaves no token; both
    messages are fit for the client. And the token's logprobs, and the drafts before it."""

    sampled: dict[str, int]
    errors: dict[str, str]
    refused: dict[str, str]
    logprobs: dict[str, TokenLogprobs]
    accepted: dict[str, AcceptedDrafts]


class TokenChooser:
    """Chooses the tokens of one step after the other. Only where the logits are."""

    def __init__(
        self, grammars: GrammarCompiler | None = None, sampler: Sampler = TORCH_SAMPLER
    ) -> None:
        self._sampler = sampler
        self._processors = LogitProcessors(grammars)

    def num_possible(self, item: ScheduledRequest, drafts: list[int]) -> int:
        """How many of these drafts an item could accept, as far as is known before the model."""
        return self._processors.num_possible(item, drafts)

    def choose(self, logits: Tensor, items: Sequence[ScheduledRequest]) -> Choices:
        """`logits` `[rows, vocab]` fp32 are one row for each of `items`, and for each of its
        drafts; they stay as they are."""
        rows = items
        if any(item.num_drafts for item in items):
            rows = [row for item in items for row in rows_of(item)]
        largest, finite = self._sampler.scan(logits)
        processed, failed = self._processors.apply(logits, rows)
        if processed is not logits:
            largest = self._sampler.scan(processed).largest
        usable = finite
        if failed:
            usable = [ok and i not in failed for i, ok in enumerate(finite)]
        samples = [SampleRow(row.sampling, row.output_index) for row in rows]
        chosen = sample(processed, samples, Scan(largest, usable), self._sampler)
        errors: dict[str, str] = {}
        refused: dict[str, str] = {}
        answers: list[_Answer] = []
        first = 0
        for item in items:
            token = chosen[first]
            if token is not None:
                tokens = _kept(item, chosen, first) if item.num_drafts else [token]
                answers.append(_Answer(item, first, tokens))
            elif finite[first]:
                refused[item.request_id] = failed[first]
            else:
                errors[item.request_id] = NOT_FINITE
            first += 1 + item.num_drafts
        told = _logprobs(logits, answers)
        return Choices(
            {item.request_id: tokens[-1] for item, _, tokens in answers},
            errors,
            refused,
            {request_id: each[-1] for request_id, each in told.items()},
            {
                item.request_id: AcceptedDrafts(
                    tuple(tokens[:-1]), told.get(item.request_id, ())[:-1]
                )
                for item, _, tokens in answers
                if len(tokens) > 1
            },
        )


class _Answer(NamedTuple):
    """The tokens that rows `first`, `first + 1`, … made for an item."""

    item: ScheduledRequest
    first: int
    tokens: list[int]


def _kept(item: ScheduledRequest, chosen: Sequence[int | None], first: int) -> list[int]:
    """An item's accepted drafts and the token after them; row `first` chose one."""
    drafts = item.token_ids[-item.num_drafts :]
    count = num_accepted(drafts, chosen[first : first + 1 + item.num_drafts])
    return [each for each in chosen[first : first + 1 + count] if each is not None]


def _logprobs(logits: Tensor, answers: Sequence[_Answer]) -> dict[str, tuple[TokenLogprobs, ...]]:
    """Of the distribution as the model made it: the logits before any change."""
    rows: list[int] = []
    tokens: list[int] = []
    num_top: list[int] = []
    wanted = [each for each in answers if each.item.sampling.logprobs is not None]
    for item, first, made in wanted:
        rows += range(first, first + len(made))
        tokens += made
        num_top += [item.sampling.logprobs or 0] * len(made)
    if not rows:
        return {}
    told = iter(token_logprobs(logits[rows], tokens, num_top))
    return {each.item.request_id: tuple(islice(told, len(each.tokens))) for each in wanted}

"""From the logits of one step to its tokens, with what was asked to be told about them."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from plimsoll_runtime.core.request import TokenLogprobs
from plimsoll_runtime.core.step import ScheduledRequest
from plimsoll_runtime.engine.grammar import GrammarCompiler
from plimsoll_runtime.engine.logprobs import token_logprobs
from plimsoll_runtime.engine.processors import LogitProcessors
from plimsoll_runtime.engine.sampler import SampleRow, finite_rows, sample

NOT_FINITE = "the model's logits are not finite for this request"


class Choices(NamedTuple):
    """By request: a token, or an error message, or why what it asks for leaves no token; both
    messages are fit for the client. And the token's logprobs."""

    sampled: dict[str, int]
    errors: dict[str, str]
    refused: dict[str, str]
    logprobs: dict[str, TokenLogprobs]


class TokenChooser:
    """Chooses the tokens of one step after the other. Only where the logits are."""

    def __init__(self, grammars: GrammarCompiler | None = None) -> None:
        self._processors = LogitProcessors(grammars)

    def choose(self, logits: Tensor, items: Sequence[ScheduledRequest]) -> Choices:
        """`logits` `[items, vocab]` fp32 are one row for each of `items`; they stay as they are."""
        finite = finite_rows(logits)
        processed, failed = self._processors.apply(logits, items)
        errors = {
            item.request_id: NOT_FINITE for item, ok in zip(items, finite, strict=True) if not ok
        }
        refused = {items[i].request_id: message for i, message in failed.items() if finite[i]}
        rows = [SampleRow(item.sampling, item.output_index) for item in items]
        usable = [ok and i not in failed for i, ok in enumerate(finite)]
        chosen = sample(processed, rows, usable)
        sampled = {
            item.request_id: token
            for item, token in zip(items, chosen, strict=True)
            if token is not None
        }
        return Choices(sampled, errors, refused, _logprobs(logits, items, sampled))


def _logprobs(
    logits: Tensor, items: Sequence[ScheduledRequest], sampled: dict[str, int]
) -> dict[str, TokenLogprobs]:
    """Of the distribution as the model made it: the logits before any change."""
    at = []
    num_top = []
    for i, item in enumerate(items):
        if item.sampling.logprobs is not None and item.request_id in sampled:
            at.append(i)
            num_top.append(item.sampling.logprobs)
    if not at:
        return {}
    ids = [items[i].request_id for i in at]
    told = token_logprobs(logits[at], [sampled[each] for each in ids], num_top)
    return dict(zip(ids, told, strict=True))

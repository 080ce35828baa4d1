"""What requests want changed in their logits before tokens are chosen.

In vLLM's order: allowed tokens, bad words, stop tokens that come too early, bias, penalties. The
grammar is last, so that nothing overrules it. Temperature, min-p, top-k and top-p come after, in
the sampler.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.core.step import ScheduledRequest, TokenHistory
from plimsoll_runtime.engine.grammar import (
    GrammarCompiler,
    GrammarError,
    GrammarState,
    allowed_tokens,
)
from plimsoll_runtime.engine.history import Followers, ahead
from plimsoll_runtime.engine.penalties import TokenCounts, penalize
from plimsoll_runtime.engine.token_lists import TokenLists

NOTHING_LEFT = (
    "allowed_token_ids, bad_words, min_tokens and response_format together leave no token to "
    "choose from"
)

Items = Sequence[ScheduledRequest]


class LogitProcessors:
    """Changes logits row by row, and keeps what that takes from one step to the next."""

    def __init__(self, grammars: GrammarCompiler | None = None) -> None:
        self._grammars = grammars
        self._lists = TokenLists()
        self._counts: Followers[TokenCounts] = Followers()
        self._states: Followers[GrammarState] = Followers()

    def apply(self, logits: Tensor, items: Items) -> tuple[Tensor, dict[int, str]]:
        """New logits `[rows, vocab]`, and a message fit for the client for each row that failed.

        The same tensor where nobody wants a change; else a copy in which the rows of those who
        want none are as they were.
        """
        changed = [i for i, item in enumerate(items) if _wants_change(item)]
        errors: dict[int, str] = {}
        if changed:
            logits = logits.clone()
            self._lists.allow(logits, items)
            _rule_out(logits, [*_early_stops(items, logits.shape[-1]), *_bad_words(items)])
            self._lists.add_bias(logits, items)
            self._penalize(logits, items)
            errors = self._follow_grammars(logits, items)
            best = logits[torch.tensor(changed, device=logits.device)].amax(dim=-1)
            for i, usable in zip(changed, best.isfinite().tolist(), strict=True):
                if not usable:
                    errors.setdefault(i, NOTHING_LEFT)
        self._lists.keep(item.request_id for item in items)
        self._counts.keep(item.request_id for item in items)
        self._states.keep(item.request_id for item in items)
        return logits, errors

    def num_possible(self, item: ScheduledRequest, drafts: list[int]) -> int:
        """How many of its next tokens could be these, as far as its grammar says."""
        if item.sampling.grammar is None:
            return len(drafts)
        try:
            return self._state(item, item.sampling.grammar).num_possible(drafts)
        except GrammarError:
            return 0

    def _penalize(self, logits: Tensor, items: Items) -> None:
        rows = [i for i, item in enumerate(items) if item.sampling.has_penalties]
        if rows:
            counts = [self._counts_of(items[i]) for i in rows]
            penalize(logits, rows, [items[i].sampling for i in rows], counts)

    def _counts_of(self, item: ScheduledRequest) -> TokenCounts:
        return ahead(self._counts.follow(item, _counting(item.sampling)), item)

    def _follow_grammars(self, logits: Tensor, items: Items) -> dict[int, str]:
        """Rules out what the grammars do not allow next; errors by row."""
        states: dict[int, GrammarState] = {}
        errors: dict[int, str] = {}
        for i, item in enumerate(items):
            if item.sampling.grammar is None:
                continue
            try:
                states[i] = ahead(self._state(item, item.sampling.grammar), item)
            except GrammarError as error:
                errors[i] = f"response_format: {error}"
        if states:
            vocab_size = logits.shape[-1]
            words = torch.from_numpy(allowed_tokens(list(states.values()), vocab_size))
            places = torch.arange(32, dtype=torch.int32, device=logits.device)
            bits = (words.to(logits.device).unsqueeze(-1) >> places) & 1
            ruled_out = bits.flatten(1)[:, :vocab_size] == 0
            rows = torch.tensor(list(states), device=logits.device)
            logits[rows] = logits[rows].masked_fill_(ruled_out, float("-inf"))
        for i, state in states.items():
            if state.error is not None:
                errors[i] = f"response_format: {state.error}"
        return errors

    def _state(self, item: ScheduledRequest, grammar: str) -> GrammarState:
        if self._grammars is None:
            raise GrammarError("this engine has no grammars")
        compiler = self._grammars
        return self._states.follow(item, lambda _: compiler.compile(grammar))


def _wants_change(item: ScheduledRequest) -> bool:
    sampling = item.sampling
    return sampling.changes_logits or (sampling.min_tokens > 0 and _stops_early(item))


def _counting(sampling: SamplingParams) -> Callable[[TokenHistory], TokenCounts]:
    """Only the repetition penalty looks at the prompt."""
    if sampling.repetition_penalty == 1.0:
        return lambda _: TokenCounts()
    return lambda history: TokenCounts(history.prompt_token_ids)


def _rule_out(logits: Tensor, pairs: Sequence[tuple[int, int]]) -> None:
    """Takes away pairs of a row and a token."""
    if pairs:
        row, token = torch.tensor(pairs, device=logits.device).unbind(1)
        logits[row, token] = float("-inf")


def _bad_words(items: Items) -> list[tuple[int, int]]:
    """The last tokens of the bad words whose other tokens are the last that came out."""
    pairs = []
    for i, item in enumerate(items):
        output = item.history.output_token_ids if item.history else []
        for word in item.sampling.bad_words:
            before = len(word) - 1
            if word and list(word[:-1]) == output[len(output) - before :][:before]:
                pairs.append((i, word[-1]))
    return pairs


def _stops_early(item: ScheduledRequest) -> bool:
    # An answer with a grammar ends where the grammar does, however short it is.
    sampling = item.sampling
    return item.output_index + 1 < sampling.min_tokens and sampling.grammar is None


def _early_stops(items: Items, vocab_size: int) -> list[tuple[int, int]]:
    """The stop tokens of requests that have not reached their `min_tokens`."""
    return [
        (i, token_id)
        for i, item in enumerate(items)
        if _stops_early(item)
        for token_id in item.sampling.stop_token_ids
        if 0 <= token_id < vocab_size
    ]

"""Chooses a token from logits, for many requests at once and each as if it were alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plimsoll_runtime.core.request import SamplingParams

_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class SampleRow:
    """How to choose from one row of logits: the request's parameters, with a seed, and which of
    its output tokens this is."""

    sampling: SamplingParams
    output_index: int


def uniform(seed: int, index: int) -> float:
    """A number in [0, 1) from the request's seed and the index of its token, and nothing else.

    So a request's tokens depend neither on its neighbours nor on a preemption. Two rounds of
    SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    return (_mix((_mix(seed & _MASK) + index) & _MASK) >> 11) * 2.0**-53


def sample(logits: Tensor, rows: Sequence[SampleRow]) -> list[int | None]:
    """A token for each row of `logits` `[rows, vocab]` fp32; None where they are not all finite.

    Greedy rows cost one argmax. Random ones take the inverse of the cumulative distribution; only
    those with top-k or top-p are sorted.
    """
    if not rows:
        return []
    # NaN and infinities all make the sum of the row non-finite.
    finite = logits.sum(dim=-1, dtype=torch.float64).isfinite().tolist()
    logits = _without_early_stops(logits, rows)
    tokens = logits.argmax(dim=-1)
    random = [i for i, row in enumerate(rows) if row.sampling.temperature > 0 and finite[i]]
    truncated = [i for i in random if _is_truncated(rows[i].sampling, logits.shape[-1])]
    plain = [i for i in random if i not in set(truncated)]
    for members, draw in ((plain, _draw), (truncated, _draw_truncated)):
        if members:
            at = torch.tensor(members, device=logits.device)
            chosen = draw(logits.index_select(0, at), [rows[i] for i in members])
            tokens.index_copy_(0, at, chosen)
    return [token if ok else None for token, ok in zip(tokens.tolist(), finite, strict=True)]


def _is_truncated(sampling: SamplingParams, vocab_size: int) -> bool:
    return sampling.top_p < 1.0 or 0 < sampling.top_k < vocab_size


def _without_early_stops(logits: Tensor, rows: Sequence[SampleRow]) -> Tensor:
    """Rules out the stop tokens of requests that have not reached their `min_tokens`."""
    early = [
        (i, token)
        for i, row in enumerate(rows)
        if row.output_index + 1 < row.sampling.min_tokens
        for token in row.sampling.stop_token_ids
        if 0 <= token < logits.shape[-1]
    ]
    if not early:
        return logits
    at, tokens = torch.tensor(early, device=logits.device).unbind(1)
    return logits.index_put((at, tokens), logits.new_tensor(float("-inf")))


def _draw(logits: Tensor, rows: Sequence[SampleRow]) -> Tensor:
    """Tokens `[rows]` from the whole distribution."""
    cumulative = _probabilities(logits, rows).cumsum(dim=-1)
    return _search(cumulative, cumulative[:, -1:], rows).squeeze(1)


def _draw_truncated(logits: Tensor, rows: Sequence[SampleRow]) -> Tensor:
    """Tokens `[rows]` from the `top_k` likeliest and, of these, the fewest that reach `top_p`."""
    vocab = logits.shape[-1]
    ordered, tokens = logits.sort(dim=-1, descending=True, stable=True)
    cumulative = _probabilities(ordered, rows).cumsum(dim=-1)
    top_k = [row.sampling.top_k if row.sampling.top_k > 0 else vocab for row in rows]
    last = torch.tensor(top_k, device=logits.device).clamp(max=vocab).unsqueeze(1) - 1
    top_p = cumulative.new_tensor([row.sampling.top_p for row in rows]).unsqueeze(1)
    # top_p is a share of what top_k left.
    reached = torch.searchsorted(cumulative, top_p * cumulative.gather(1, last))
    last = torch.minimum(last, reached)
    chosen = _search(cumulative, cumulative.gather(1, last), rows)
    return tokens.gather(1, torch.minimum(chosen, last)).squeeze(1)


def _probabilities(logits: Tensor, rows: Sequence[SampleRow]) -> Tensor:
    """Softmax at each row's temperature, in fp64 because its running sum is searched."""
    temperatures = [row.sampling.temperature for row in rows]
    scaled = logits.double()
    # Take off the maximum first: a tiny temperature must not make infinities.
    scaled = scaled - scaled.amax(dim=-1, keepdim=True)
    return (scaled / scaled.new_tensor(temperatures).unsqueeze(1)).softmax(dim=-1)


def _search(cumulative: Tensor, total: Tensor, rows: Sequence[SampleRow]) -> Tensor:
    """The first position where the running sum exceeds the row's random share of `total`."""
    shares = [uniform(row.sampling.seed or 0, row.output_index) for row in rows]
    targets = cumulative.new_tensor(shares).unsqueeze(1) * total
    found = torch.searchsorted(cumulative, targets, right=True)
    return found.clamp_(max=cumulative.shape[-1] - 1)


def _mix(state: int) -> int:
    state = (state + 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)

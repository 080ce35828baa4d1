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


def finite_rows(logits: Tensor) -> list[bool]:
    """Which rows of `logits` `[rows, vocab]` have neither NaN nor infinities."""
    # Any of them makes the sum of the row non-finite.
    finite: list[bool] = logits.sum(dim=-1, dtype=torch.float64).isfinite().tolist()
    return finite


def sample(
    logits: Tensor, rows: Sequence[SampleRow], usable: Sequence[bool] | None = None
) -> list[int | None]:
    """A token for each row of `logits` `[rows, vocab]` fp32; None where it is not `usable`.

    Without `usable` that is where the logits are not all finite; with it, some may be -inf: these
    tokens are never chosen. Greedy rows cost one argmax. Random ones take the inverse of the
    cumulative distribution; only those with top-k or top-p are sorted.
    """
    if not rows:
        return []
    if usable is None:
        usable = finite_rows(logits)
    tokens = logits.argmax(dim=-1)
    random = [i for i, row in enumerate(rows) if row.sampling.temperature > 0 and usable[i]]
    truncated = [i for i in random if _is_truncated(rows[i].sampling, logits.shape[-1])]
    plain = [i for i in random if i not in set(truncated)]
    for members, draw in ((plain, _draw), (truncated, _draw_truncated)):
        if members:
            at = torch.tensor(members, device=logits.device)
            chosen = draw(logits.index_select(0, at), [rows[i] for i in members])
            tokens.index_copy_(0, at, chosen)
    return [token if ok else None for token, ok in zip(tokens.tolist(), usable, strict=True)]


def _is_truncated(sampling: SamplingParams, vocab_size: int) -> bool:
    return sampling.top_p < 1.0 or 0 < sampling.top_k < vocab_size


def _draw(logits: Tensor, rows: Sequence[SampleRow]) -> Tensor:
    """Tokens `[rows]` from the whole distribution."""
    cumulative = _probabilities(logits, rows).cumsum(dim=-1)
    return _search(cumulative, cumulative[:, -1:], rows).squeeze(1)


def _draw_truncated(logits: Tensor, rows: Sequence[SampleRow]) -> Tensor:
    """Tokens `[rows]` from what is left of the distribution.

    They are drawn in the order of the vocabulary, not of their probabilities: the last bits of
    two logits that are nearly equal must not decide between two other tokens.
    """
    cumulative = truncated(logits, rows).cumsum(dim=-1)
    return _search(cumulative, cumulative[:, -1:], rows).squeeze(1)


def truncated(logits: Tensor, rows: Sequence[SampleRow]) -> Tensor:
    """Probabilities `[rows, vocab]` fp64 of the tokens that are left, the others' 0.

    Left are those with at least `min_p` of the likeliest one's probability, of these the `top_k`
    likeliest, and of these the fewest that reach `top_p`. A row's sum is at most 1.
    """
    vocab = logits.shape[-1]
    probabilities = _probabilities(logits, rows)
    tokens = logits.sort(dim=-1, descending=True, stable=True).indices
    cumulative = probabilities.gather(1, tokens).cumsum(dim=-1)
    top_k = [row.sampling.top_k if row.sampling.top_k > 0 else vocab for row in rows]
    last = torch.tensor(top_k, device=logits.device).clamp(max=vocab).unsqueeze(1) - 1
    top_p = cumulative.new_tensor([row.sampling.top_p for row in rows]).unsqueeze(1)
    # top_p is a share of what top_k left.
    reached = torch.searchsorted(cumulative, top_p * cumulative.gather(1, last))
    last = torch.where(top_p < 1.0, torch.minimum(last, reached), last)
    left_out = torch.arange(vocab, device=logits.device) > last
    left_out = torch.zeros_like(left_out).scatter_(1, tokens, left_out)
    return probabilities.masked_fill_(left_out, 0.0)


def _probabilities(logits: Tensor, rows: Sequence[SampleRow]) -> Tensor:
    """Softmax at each row's temperature, in fp64 because its running sum is searched.

    Tokens with less than `min_p` of the likeliest one's probability have none.
    """
    temperatures = [row.sampling.temperature for row in rows]
    scaled = logits.double()
    # Take off the maximum first: a tiny temperature must not make infinities.
    scaled = scaled - scaled.amax(dim=-1, keepdim=True)
    scaled = scaled / scaled.new_tensor(temperatures).unsqueeze(1)
    if any(row.sampling.min_p > 0 for row in rows):
        # The maximum is 0 here, so that exp gives the share of the likeliest token's probability.
        min_p = scaled.new_tensor([row.sampling.min_p for row in rows]).unsqueeze(1)
        scaled = scaled.masked_fill(scaled.exp() < min_p, float("-inf"))
    return scaled.softmax(dim=-1)


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

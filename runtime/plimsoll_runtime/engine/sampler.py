"""Chooses a token from logits, for many requests at once and each as if it were alone."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from plimsoll_runtime.core.request import SamplingParams

_MASK = (1 << 64) - 1


class SampleRow(NamedTuple):
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


class Scan(NamedTuple):
    """Of each row of logits: the lowest index of the largest, and whether all are finite."""

    largest: list[int]
    finite: list[bool]


class Sampler(Protocol):
    """What is done with all of a row's logits. They are `[rows, vocab]` fp32."""

    def scan(self, logits: Tensor) -> Scan:
        """Where logits are NaN, the largest is any."""

    def draw(
        self, logits: Tensor, members: Sequence[int], rows: Sequence[SampleRow], scan: Scan
    ) -> list[int]:
        """A token for each of the rows `members`, whose temperature is above 0.

        The inverse of the cumulative distribution, in the order of the vocabulary, of what
        `truncated` leaves. Their logits may be -inf, but for the largest; these tokens are never
        drawn.
        """


class TorchSampler:
    """See `Sampler`. On every device; only rows with top-k or top-p are sorted."""

    def scan(self, logits: Tensor) -> Scan:
        """See `Sampler`."""
        # Any that is not finite makes the sum of the row so.
        finite = logits.sum(dim=-1, dtype=torch.float64).isfinite()
        return Scan(logits.argmax(dim=-1).tolist(), finite.tolist())

    def draw(
        self,
        logits: Tensor,
        members: Sequence[int],
        rows: Sequence[SampleRow],
        scan: Scan,  # noqa: ARG002 - the kernels want it
    ) -> list[int]:
        """See `Sampler`."""
        tokens = dict.fromkeys(members, 0)
        vocab = logits.shape[-1]
        cut = [i for i in members if _is_truncated(rows[i].sampling, vocab)]
        whole = [i for i in members if not _is_truncated(rows[i].sampling, vocab)]
        for some, weigh in ((whole, _probabilities), (cut, truncated)):
            if some:
                of = [rows[i] for i in some]
                at = torch.tensor(some, device=logits.device)
                found = _search(weigh(logits.index_select(0, at), of).cumsum(dim=-1), of)
                tokens |= zip(some, found.tolist(), strict=True)
        return list(tokens.values())


TORCH_SAMPLER = TorchSampler()


def sample(
    logits: Tensor,
    rows: Sequence[SampleRow],
    scan: Scan | None = None,
    sampler: Sampler = TORCH_SAMPLER,
) -> list[int | None]:
    """A token for each row of `logits` `[rows, vocab]` fp32; None where `scan` has no finite one.

    Without a `scan` all logits of a row must be finite; in a given one they may be -inf where the
    largest is not.
    """
    if not rows:
        return []
    if scan is None:
        scan = sampler.scan(logits)
    tokens: list[int | None] = [
        token if ok else None for token, ok in zip(scan.largest, scan.finite, strict=True)
    ]
    random = [i for i, row in enumerate(rows) if row.sampling.temperature > 0 and scan.finite[i]]
    if random:
        for i, token in zip(random, sampler.draw(logits, random, rows, scan), strict=True):
            tokens[i] = token
    return tokens


def _is_truncated(sampling: SamplingParams, vocab_size: int) -> bool:
    return sampling.top_p < 1.0 or 0 < sampling.top_k < vocab_size


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


def _search(cumulative: Tensor, rows: Sequence[SampleRow]) -> Tensor:
    """The first positions `[rows]` where the running sum exceeds the row's random share of all.

    In the order of the vocabulary, not of the probabilities: the last bits of two logits that are
    nearly equal must not decide between two other tokens.
    """
    shares = [uniform(row.sampling.seed or 0, row.output_index) for row in rows]
    targets = cumulative.new_tensor(shares).unsqueeze(1) * cumulative[:, -1:]
    found = torch.searchsorted(cumulative, targets, right=True)
    return found.clamp_(max=cumulative.shape[-1] - 1).squeeze(1)


def _mix(state: int) -> int:
    state = (state + 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)

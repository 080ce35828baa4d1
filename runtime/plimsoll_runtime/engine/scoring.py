"""Log-probabilities of prompts, chunk by chunk: what the model thought of each token in turn."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from plimsoll_runtime.core.request import TokenLogprobs
from plimsoll_runtime.core.step import ScheduledRequest
from plimsoll_runtime.engine.logprobs import token_logprobs
from plimsoll_runtime.engine.sampler import TORCH_SAMPLER, Sampler

CHUNK_BYTES = 8 * 2**20
"""Bytes of fp32 logits at a time, twice as many with their log-probabilities: a prompt's at once
would be its length times the vocabulary. Of 152k tokens it is 13 rows, as many as a product takes
in little more than the time of one."""


class Scores(NamedTuple):
    """By request what its prompt's tokens got, and the requests whose logits are not finite."""

    prompt_logprobs: dict[str, tuple[TokenLogprobs, ...]]
    not_finite: set[str]


def target_rows(items: Sequence[ScheduledRequest]) -> list[int]:
    """Which of the step's tokens judge a prompt token, all `items` one after the other."""
    rows: list[int] = []
    begin = 0
    for item in items:
        if item.targets is not None:
            first = begin + item.targets.start - item.start
            rows += range(first, first + len(item.targets.token_ids))
        begin += len(item.token_ids)
    return rows


def head_chunks(rows: Sequence[int], vocab_size: int) -> Iterator[Sequence[int]]:
    """`rows` in parts whose logits fit `CHUNK_BYTES`, or of one row where even that is more."""
    size = max(1, CHUNK_BYTES // (4 * vocab_size))
    for at in range(0, len(rows), size):
        yield rows[at : at + size]


def score_prompts(
    hidden: Tensor,
    items: Sequence[ScheduledRequest],
    logits_of: Callable[[Tensor], Tensor],
    vocab_size: int,
    sampler: Sampler = TORCH_SAMPLER,
) -> Scores:
    """The logprobs of each item's `targets`.

    `hidden` `[T, hidden]` are the tokens of all `items`; `logits_of` maps some of its rows to
    logits `[rows, vocab]` fp32, and is called once for each of `head_chunks`.
    """
    judging = target_rows(items)
    if not judging:
        return Scores({}, set())
    wanted = iter(
        [
            (item.request_id, token_id, item.sampling.prompt_logprobs or 0)
            for item in items
            if item.targets is not None
            for token_id in item.targets.token_ids
        ]
    )
    scores: dict[str, list[TokenLogprobs]] = {}
    not_finite: set[str] = set()
    for rows in head_chunks(judging, vocab_size):
        logits = logits_of(hidden[torch.tensor(rows, device=hidden.device)])
        ids, token_ids, counts = zip(*(next(wanted) for _ in rows), strict=True)
        told = token_logprobs(logits, token_ids, counts)
        for request_id, each, finite in zip(ids, told, sampler.scan(logits).finite, strict=True):
            scores.setdefault(request_id, []).append(each)
            if not finite:
                not_finite.add(request_id)
    return Scores({key: tuple(each) for key, each in scores.items()}, not_finite)

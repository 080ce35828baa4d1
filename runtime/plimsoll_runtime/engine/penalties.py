"""Presence, frequency and repetition penalties, for many requests at once.

They touch only the logits of tokens that have come up: the cost is that of the histories, not of
the vocabulary.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plimsoll_runtime.core.request import SamplingParams

START_CAPACITY = 64


class TokenCounts:
    """The distinct tokens of a request and how often each is in its output.

    The prompt's tokens are among them only when `prompt_token_ids` are given.
    """

    def __init__(self, prompt_token_ids: Sequence[int] = ()) -> None:
        self.num_taken = 0
        self._ids = np.unique(np.asarray(prompt_token_ids, dtype=np.int64))
        self._counts = np.zeros(len(self._ids), dtype=np.int64)
        self._size = len(self._ids)
        self._place = {token_id: place for place, token_id in enumerate(self._ids.tolist())}

    @property
    def token_ids(self) -> NDArray[np.int64]:
        """Every token once, in no order."""
        return self._ids[: self._size]

    @property
    def output_counts(self) -> NDArray[np.int64]:
        """How often each of `token_ids` is in the output."""
        return self._counts[: self._size]

    def take(self, token_ids: list[int]) -> None:
        """Adds output tokens."""
        for token_id in token_ids:
            place = self._place.get(token_id)
            if place is None:
                place = self._append(token_id)
            self._counts[place] += 1
        self.num_taken += len(token_ids)

    def fork(self) -> Self:
        """A copy that goes its own way."""
        copy = type(self)()
        copy.num_taken, copy._size = self.num_taken, self._size
        copy._ids, copy._counts = self._ids.copy(), self._counts.copy()
        copy._place = self._place.copy()
        return copy

    def _append(self, token_id: int) -> int:
        if self._size == len(self._ids):
            capacity = max(START_CAPACITY, 2 * self._size)
            self._ids = np.resize(self._ids, capacity)
            counts = np.zeros(capacity, dtype=np.int64)
            counts[: self._size] = self._counts
            self._counts = counts
        self._ids[self._size] = token_id
        self._place[token_id] = self._size
        self._size += 1
        return self._size - 1


def penalize(
    logits: Tensor,
    rows: Sequence[int],
    sampling: Sequence[SamplingParams],
    counts: list[TokenCounts],
) -> None:
    """Changes `logits` `[batch, vocab]` in place, in `rows` only.

    The repetition penalty divides positive logits and multiplies negative ones (arXiv:1909.05858);
    then each token loses the frequency penalty as often as it is in the output, and the presence
    penalty once if it is at all.
    """
    sizes = [len(each.token_ids) for each in counts]
    if not sum(sizes):
        return
    per_row = [
        (each.repetition_penalty, each.frequency_penalty, each.presence_penalty)
        for each in sampling
    ]
    device = logits.device
    places = np.stack(
        [np.repeat(np.asarray(rows), sizes), np.concatenate([each.token_ids for each in counts])]
    )
    row, token = torch.from_numpy(places).to(device)
    count = torch.from_numpy(np.concatenate([each.output_counts for each in counts])).to(device)
    weights = torch.from_numpy(np.repeat(np.asarray(per_row, dtype=np.float32), sizes, axis=0))
    repetition, frequency, presence = weights.to(device).unbind(1)
    values = logits[row, token]
    values = torch.where(values > 0, values / repetition, values * repetition)
    values -= frequency * count + presence * (count > 0)
    logits[row, token] = values

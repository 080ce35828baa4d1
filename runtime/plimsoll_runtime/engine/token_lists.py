"""`allowed_token_ids` and `logit_bias`: long lists, made into arrays once and not at every step."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.core.step import ScheduledRequest

Items = Sequence[ScheduledRequest]


class _Arrays(NamedTuple):
    sampling: SamplingParams
    allowed: NDArray[np.int64]
    biased: NDArray[np.int64]
    bias: NDArray[np.float32]


class TokenLists:
    """Applies them for many requests at once; remembers those of the last step."""

    def __init__(self) -> None:
        self._kept: dict[str, _Arrays] = {}

    def allow(self, logits: Tensor, items: Items) -> None:
        """Rules out, in place, all but the allowed tokens in the rows that have some."""
        rows = [i for i, item in enumerate(items) if item.sampling.allowed_token_ids]
        if rows:
            at = self._places(logits, rows, [self._arrays(items[i]).allowed for i in rows])
            kept = logits[at]
            logits[rows] = float("-inf")
            logits[at] = kept

    def add_bias(self, logits: Tensor, items: Items) -> None:
        """Adds each row's biases, in place."""
        rows = [i for i, item in enumerate(items) if item.sampling.logit_bias]
        if rows:
            arrays = [self._arrays(items[i]) for i in rows]
            at = self._places(logits, rows, [each.biased for each in arrays])
            bias = torch.from_numpy(np.concatenate([each.bias for each in arrays]))
            logits.index_put_(at, bias.to(logits.device), accumulate=True)

    def keep(self, request_ids: Iterable[str]) -> None:
        """Forgets all others."""
        if self._kept:
            wanted = set(request_ids)
            self._kept = {key: each for key, each in self._kept.items() if key in wanted}

    def _places(
        self, logits: Tensor, rows: list[int], token_ids: list[NDArray[np.int64]]
    ) -> tuple[Tensor, Tensor]:
        sizes = [len(each) for each in token_ids]
        pairs = np.stack([np.repeat(np.asarray(rows), sizes), np.concatenate(token_ids)])
        row, token = torch.from_numpy(pairs).to(logits.device)
        return row, token

    def _arrays(self, item: ScheduledRequest) -> _Arrays:
        known = self._kept.get(item.request_id)
        sampling = item.sampling
        if known is None or known.sampling is not sampling:
            biased = [token_id for token_id, _ in sampling.logit_bias]
            known = self._kept[item.request_id] = _Arrays(
                sampling,
                np.asarray(sampling.allowed_token_ids, dtype=np.int64),
                np.asarray(biased, dtype=np.int64),
                np.asarray([bias for _, bias in sampling.logit_bias], dtype=np.float32),
            )
        return known

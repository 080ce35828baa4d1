"""Sums of final hidden states, chunk by chunk: what embeddings are made of."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from plimsoll_runtime.core.step import ScheduledRequest

NOT_FINITE = "the model's hidden states are not finite for this request"


class Pooled(NamedTuple):
    """By request: the sum of its `pooled` span, `[hidden]` fp32 as little-endian bytes, or an
    error message fit for the client."""

    vectors: dict[str, bytes]
    errors: dict[str, str]


def pool_prompts(
    hidden: Tensor, items: Sequence[ScheduledRequest], norm: Callable[[Tensor], Tensor]
) -> Pooled:
    """The sums of each item's `pooled` span, after the model's last norm.

    `hidden` `[T, hidden]` are the tokens of all `items` before that norm. Every rank has all of
    them, so that this takes no other's part.
    """
    ids: list[str] = []
    sums: list[Tensor] = []
    begin = 0
    for item in items:
        if item.pooled is not None:
            first = begin - item.start
            rows = hidden[first + item.pooled.start : first + item.pooled.stop]
            ids.append(item.request_id)
            sums.append(norm(rows).float().sum(dim=0))
        begin += len(item.token_ids)
    if not ids:
        return Pooled({}, {})
    vectors = torch.stack(sums).cpu()  # at once: each copy from a GPU waits for it
    finite = vectors.isfinite().all(dim=1).tolist()
    data = vectors.numpy().astype("<f4", copy=False)
    return Pooled(
        {name: row.tobytes() for name, row, ok in zip(ids, data, finite, strict=True) if ok},
        {name: NOT_FINITE for name, ok in zip(ids, finite, strict=True) if not ok},
    )

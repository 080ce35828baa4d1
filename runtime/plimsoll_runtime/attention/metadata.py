"""Which tokens of a step belong to which sequence, and where their keys and values lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor


class SequenceSpan(NamedTuple):
    """One sequence in a step: `query_len` new tokens from position `start` on.

    `block_ids` is its block table and covers position `start + query_len - 1`.
    """

    start: int
    query_len: int
    block_ids: Sequence[int]


@dataclass(frozen=True)
class AttentionMetadata:
    """A step's sequences, one after the other in the batch of tokens.

    On the device, as kernels want it: `query_start_loc` `[sequences + 1]` int32, where each one's
    tokens begin; `seq_lens` `[sequences]` int32, its length with the new tokens; `block_tables`
    `[sequences, max_blocks]` int64, padded with the null block; `slot_mapping` `[tokens]` int64,
    where each new token's key and value go. `spans` is the same on the host, so that nobody has
    to wait for the device to learn a length.
    """

    spans: tuple[SequenceSpan, ...]
    query_start_loc: Tensor
    seq_lens: Tensor
    block_tables: Tensor
    slot_mapping: Tensor


def device_tensor(values: object, device: torch.device, dtype: DTypeLike = np.int64) -> Tensor:
    """Numbers in lists as a tensor. numpy reads lists in less than half of torch's time."""
    return torch.from_numpy(np.array(values, dtype=dtype)).to(device)


def build_metadata(
    spans: Sequence[SequenceSpan], block_size: int, null_block: int, device: torch.device
) -> AttentionMetadata:
    """Builds the tensors on the host and moves each to the device once.

    Raises ValueError when a block table is too short for its sequence.
    """
    starts = [0]
    seq_lens = []
    slots: list[int] = []
    width = max((len(span.block_ids) for span in spans), default=0)
    tables = []
    for span in spans:
        stop = span.start + span.query_len
        if len(span.block_ids) * block_size < stop:
            raise ValueError(
                f"a block table of {len(span.block_ids)} blocks of {block_size} tokens does not "
                f"cover {stop} tokens"
            )
        starts.append(starts[-1] + span.query_len)
        seq_lens.append(stop)
        slots += [
            span.block_ids[position // block_size] * block_size + position % block_size
            for position in range(span.start, stop)
        ]
        tables.append([*span.block_ids, *[null_block] * (width - len(span.block_ids))])
    return AttentionMetadata(
        spans=tuple(spans),
        query_start_loc=device_tensor(starts, device, np.int32),
        seq_lens=device_tensor(seq_lens, device, np.int32),
        block_tables=device_tensor(tables, device).view(len(tables), width),
        slot_mapping=device_tensor(slots, device),
    )

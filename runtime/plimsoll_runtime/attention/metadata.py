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
    `[sequences, max_blocks]` int64, padded with the null block, whose rows may lie apart;
    `positions` `[tokens]` int64, of each new token in its sequence; `slot_mapping` `[tokens]`
    int64, where its key and value go. `spans` is the same on the host, so that nobody has to wait
    for the device to learn a length. All of it is good until the next step.
    """

    spans: Sequence[SequenceSpan]
    query_start_loc: Tensor
    seq_lens: Tensor
    block_tables: Tensor
    positions: Tensor
    slot_mapping: Tensor


class Numbers:
    """A list of numbers as a tensor on a device, in memory that stays in place while there are as
    many: to fill a tensor is quicker than to make one."""

    def __init__(self, device: torch.device, dtype: DTypeLike = np.int64) -> None:
        self._device = device
        self._host = np.empty(0, dtype=dtype)
        self._tensor = torch.from_numpy(self._host)

    def tensor(self, values: Sequence[int]) -> Tensor:
        """`[values]`; overwritten by the next call."""
        if len(values) == len(self._host):
            self._host[:] = values
        else:
            self._host = np.array(values, dtype=self._host.dtype)
            self._tensor = torch.from_numpy(self._host)
        return self._tensor if self._device.type == "cpu" else self._tensor.to(self._device)


class BlockTables:
    """The tables of a step's sequences, as `Numbers` are.

    From one step to the next few change, and to find out which takes less than to write them.
    """

    def __init__(self, null_block: int, device: torch.device) -> None:
        self._null_block = null_block
        self._device = device
        self._held: list[Sequence[int]] = []
        self._host = np.empty((0, 0), dtype=np.int64)
        self._tensor = torch.from_numpy(self._host)

    def tensor(self, spans: Sequence[SequenceSpan]) -> Tensor:
        """`[sequences, max_blocks]`, whose rows may lie apart; overwritten by the next call.

        Raises ValueError for a block beyond the null block: kernels take the numbers on trust.
        """
        count, (rows, columns) = len(spans), self._host.shape
        width = max([len(span.block_ids) for span in spans], default=0)
        if count > rows or width > columns:
            rows, columns = _room_for(count, rows), _room_for(width, columns)
            self._host = np.full((rows, columns), self._null_block)
            self._held = [() for _ in range(rows)]
            self._tensor = torch.from_numpy(self._host[:count, :width])
        for i, span in enumerate(spans):
            if span.block_ids != self._held[i]:
                self._write(i, span.block_ids)
        if self._tensor.shape != (count, width):
            self._tensor = torch.from_numpy(self._host[:count, :width])
        return self._tensor if self._device.type == "cpu" else self._tensor.to(self._device)

    def _write(self, row: int, block_ids: Sequence[int]) -> None:
        if len(block_ids) and not 0 <= min(block_ids) <= max(block_ids) <= self._null_block:
            raise ValueError(f"a block table names a block beyond {self._null_block}")
        self._host[row, : len(block_ids)] = block_ids
        self._host[row, len(block_ids) :] = self._null_block
        self._held[row] = block_ids


def _room_for(count: int, room: int) -> int:
    return room if count <= room else max(count, 2 * room)


def device_tensor(values: object, device: torch.device) -> Tensor:
    """Numbers in lists as a tensor. numpy reads lists in less than half of torch's time."""
    return torch.from_numpy(np.array(values, dtype=np.int64)).to(device)


class MetadataBuilder:
    """Makes the metadata of one step after the other, each on the host and then on the device."""

    def __init__(self, block_size: int, null_block: int, device: torch.device) -> None:
        self._block_size = block_size
        self._query_start_loc = Numbers(device, np.int32)
        self._seq_lens = Numbers(device, np.int32)
        self._positions = Numbers(device)
        self._slot_mapping = Numbers(device)
        self._block_tables = BlockTables(null_block, device)

    def build(self, spans: Sequence[SequenceSpan]) -> AttentionMetadata:
        """Raises ValueError when a block table is too short for its sequence, or names a block that
        is not there. The `block_ids` must stay as they are."""
        size = self._block_size
        starts = [0]
        seq_lens = []
        positions: list[int] = []
        slots: list[int] = []
        for start, query_len, block_ids in spans:
            stop = start + query_len
            if len(block_ids) * size < stop:
                raise ValueError(
                    f"a block table of {len(block_ids)} blocks of {size} tokens does not cover "
                    f"{stop} tokens"
                )
            starts.append(starts[-1] + query_len)
            seq_lens.append(stop)
            for position in range(start, stop):
                positions.append(position)
                slots.append(block_ids[position // size] * size + position % size)
        return AttentionMetadata(
            spans,
            self._query_start_loc.tensor(starts),
            self._seq_lens.tensor(seq_lens),
            self._block_tables.tensor(spans),
            self._positions.tensor(positions),
            self._slot_mapping.tensor(slots),
        )


def build_metadata(
    spans: Sequence[SequenceSpan], block_size: int, null_block: int, device: torch.device
) -> AttentionMetadata:
    """Of a single step; see `MetadataBuilder`."""
    return MetadataBuilder(block_size, null_block, device).build(spans)

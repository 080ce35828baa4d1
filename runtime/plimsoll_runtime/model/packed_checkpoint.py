"""int8 weights as compressed-tensors' `pack-quantized` stores them: four numbers in an int32.

Number i of a row, plus 128, is in the bits from 8 (i mod 4) on of word i // 4; what is left of the
last word means nothing. In memory, little-endian as the file, the words of a row are so its numbers
one after the other, each with its sign bit turned over.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from plimsoll_runtime.model.parallel import Part

NUMBERS_PER_WORD = 4
LEAST = -128


class PackedPart(Part):
    """A part of a weight `[outputs, inputs]` in int8, of which the checkpoint has
    `[outputs, words]` in int32."""

    __slots__ = ()

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        """See `Part`."""
        return (torch.int32,)

    @property
    def whole_shape(self) -> list[int]:
        """See `Part`."""
        outputs, inputs = super().whole_shape
        return [outputs, -(-inputs // NUMBERS_PER_WORD)]

    @property
    def region(self) -> tuple[slice, ...]:
        """See `Part`: all words that have something of it."""
        if self.dim == 0:
            return super().region
        end = self.start + self.tensor.shape[1]
        words = slice(self.start // NUMBERS_PER_WORD, -(-end // NUMBERS_PER_WORD))
        return slice(None), words

    def fill(self, source: Tensor) -> None:
        """See `Part`."""
        numbers = source.contiguous().view(torch.int8)
        skipped = self.start % NUMBERS_PER_WORD if self.dim == 1 else 0
        self.tensor.copy_(numbers[:, skipped : skipped + self.tensor.shape[1]])
        self.tensor.bitwise_xor_(LEAST)


def packed_parts(parts: Mapping[str, Part]) -> dict[str, Part]:
    """`parts` where int8 weights are packed: by the names that their tensors have then."""
    return {
        f"{name}_packed" if is_packed else name: PackedPart(*part) if is_packed else part
        for name, part in parts.items()
        for is_packed in [part.tensor.dtype == torch.int8]
    }

"""Number formats of weights, and the bytes that a matrix takes in each."""

from dataclasses import dataclass, field

from plimsoll_planner.models.weights import Matrix, Part

LAYERS = (Part.ATTENTION, Part.MLP, Part.EXPERT)
EXPERTS = (Part.EXPERT,)
WHOLE = 0
"""As the side of a group: the whole row or column."""


@dataclass(frozen=True)
class Format:
    """Weights of `parts` in `bits` each and one scale of `scale_bits`, zero point included, for
    every group of `group_rows` × `group_columns`; all other weights in `other_bits`.

    `activation_bytes` is the size of the numbers that go from layer to layer beside it. Weights
    that are `widened` are made such numbers before they are multiplied.
    """

    name: str
    bits: float
    scale_bits: int = 0
    group_rows: int = 1
    group_columns: int = WHOLE
    parts: tuple[Part, ...] = LAYERS
    other_bits: int = 16
    widened: bool = field(default=False, repr=False)

    @property
    def activation_bytes(self) -> int:
        """Of one number of the residual stream."""
        return self.other_bits // 8

    def bytes_of(self, matrix: Matrix) -> int:
        """Bytes of all that `matrix` stands for."""
        if matrix.part not in self.parts:
            return matrix.parameters * self.other_bits // 8
        rows, columns = matrix.rows, matrix.columns
        groups = -(-rows // (self.group_rows or rows)) * -(
            -columns // (self.group_columns or columns)
        )
        bits = rows * columns * self.bits + groups * self.scale_bits
        return matrix.count * -int(-bits // 8)

    def share_of(self, matrix: Matrix, tensor_parallel_size: int) -> int:
        """The same on one of so many accelerators.

        Where each has a part of the inputs, each has the scales of all outputs.
        """
        share = matrix.share(tensor_parallel_size)
        size = self.bytes_of(matrix)
        if matrix.by_inputs and matrix.part in self.parts and self.group_columns == WHOLE:
            scales = matrix.count * matrix.rows // (self.group_rows or matrix.rows)
            size += (share - 1) * scales * self.scale_bits // 8
        return -(-size // share)


FORMATS = {
    each.name: each
    for each in (
        Format("FP32", 32, other_bits=32),
        Format("BF16", 16),
        Format("FP16", 16),
        # A scale in FP32 for each output, as vLLM and compressed-tensors make them.
        Format("FP8", 8, 32),
        Format("INT8", 8, 32),
        # Groups of 128 inputs with a 16-bit scale and a 4-bit zero point: AWQ (arXiv 2306.00978)
        # and GPTQ (2210.17323) as their checkpoints are published.
        Format("INT4", 4, 20, group_columns=128),
        # OCP Microscaling Formats v1.0: blocks of 32 with an 8-bit exponent. NVFP4: blocks of 16
        # with an FP8 scale (NVIDIA, "Introducing NVFP4", 2025).
        Format("MXFP4", 4, 8, group_columns=32),
        Format("NVFP4", 4, 8, group_columns=16),
    )
}
"""Formats by the names that a deployment may ask for."""

INT8_PANELS = Format("INT8", 8, 64)
"""As the engine keeps it on `cpu`: for each output a scale in FP32 and in INT32 the sum of its
numbers, by which products are corrected."""
INT8_WIDENED = Format("INT8", 8, 32, widened=True)
"""The same where activations stay in 16 bits (W8A16): without the sums."""

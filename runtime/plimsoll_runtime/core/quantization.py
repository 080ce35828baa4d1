"""How weights are made smaller when they are loaded."""

from enum import StrEnum


class Quantization(StrEnum):
    """`INT8` multiplies int8 weights with activations quantized token by token (W8A8);
    `INT8_WEIGHT_ONLY` leaves activations as they are (W8A16)."""

    NONE = "none"
    INT8 = "int8"
    INT8_WEIGHT_ONLY = "int8-weight-only"

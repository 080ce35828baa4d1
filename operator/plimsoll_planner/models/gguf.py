"""Bytes of a model in GGUF's k-quant mixtures, tensor by tensor.

Which tensor gets which type, and the types' blocks, are those of llama.cpp's quantizer
(ggml-org/llama.cpp, `llama_tensor_get_type_impl` and `tensor_type_fallback` in
src/llama-quant.cpp, block sizes in ggml/src/ggml-common.h) without an importance matrix.
"""

from collections.abc import Iterator

from plimsoll_planner.models.model import Model
from plimsoll_planner.models.weights import Matrix, Part

_BLOCKS = {
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
    "Q8_0": (32, 34),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "F16": (1, 2),
    "F32": (1, 4),
}
"""Weights in a block, and its bytes, scales included."""
_FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "Q8_0": "F16"}
MIXTURES = {"Q4_K_M": "Q4_K", "Q5_K_M": "Q5_K", "Q6_K": "Q6_K", "Q8_0": "Q8_0"}
"""Mixtures by name, each with the type that most of its tensors have."""
_LAYERS_OF_70B = 80


def sized_tensors(model: Model, mixture: str) -> Iterator[tuple[Matrix, int]]:
    """Every matrix of the model with its bytes in `mixture`, a key of MIXTURES."""
    layers, usual = len(model.layers), MIXTURES[mixture]
    for matrix in model.outer_matrices():
        if matrix.part is Part.VECTOR or matrix.name == "positions":
            kind = "F32"
        elif matrix.part is Part.ENCODER:
            kind = "F16"
        elif matrix.part is Part.HEAD or model.tied:
            kind = "Q8_0" if usual == "Q8_0" or matrix.columns % 256 else "Q6_K"
        else:
            kind = usual
        yield matrix, _bytes(matrix, kind)
    for index, layer in enumerate(model.layers):
        eight = layer.experts is not None and layer.experts.count == 8
        attention = layer.attention
        grouped = layers == _LAYERS_OF_70B and attention.heads != attention.kv_heads
        for matrix in layer.matrices(model.hidden_size):
            if matrix.part in (Part.VECTOR, Part.EXPERT_BIAS, Part.ROUTER):
                yield matrix, _bytes(matrix, "F32")
                continue
            kind = usual
            if mixture.endswith("_M") and matrix.name in ("v", "down"):
                kind = "Q6_K" if _gets_more_bits(index, layers) else usual
            if grouped and matrix.name == "v" and kind == "Q4_K":
                kind = "Q5_K"
            if eight and matrix.name in ("k", "v"):
                kind = "Q8_0"
            if eight and matrix.name == "o" and mixture == "Q4_K_M":
                kind = "Q5_K"
            yield matrix, _bytes(matrix, kind)


def _gets_more_bits(index: int, layers: int) -> bool:
    """The first and last eighth of the layers, and each third one between."""
    eighth = layers // 8
    return index < eighth or index >= 7 * layers // 8 or (index - eighth) % 3 == 2


def _bytes(matrix: Matrix, kind: str) -> int:
    while matrix.columns % _BLOCKS[kind][0]:
        kind = _FALLBACK[kind]
    weights, size = _BLOCKS[kind]
    return matrix.parameters // weights * size

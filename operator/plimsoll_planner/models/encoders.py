"""Encoders of images beside a language model: weights that an engine holds, text or not."""

from collections.abc import Callable, Mapping

from plimsoll_planner.models.fields import Fields
from plimsoll_planner.models.weights import Matrix, Part


def encoder_matrices(outer: Fields, hidden: int) -> tuple[Matrix, ...]:
    """Weights of the encoder and of what maps its output to the language model, `hidden` wide.

    None where there is no encoder, or one whose kind the planner does not know.
    """
    vision = outer.nested("vision_config")
    count = _KINDS.get(vision.text("model_type"))
    if count is None:
        return ()
    return (Matrix("encoder", Part.ENCODER, 1, count(vision, hidden), shares=1),)


def _layers(width: int, inner: int, layers: int) -> int:
    """Layers with biases and two norms of two vectors, ungated."""
    attention = 4 * (width * width + width)
    mlp = 2 * width * inner + inner + width
    return layers * (attention + mlp + 4 * width)


def _siglip(vision: Fields, hidden: int) -> int:
    """SigLIP with Gemma 3's projector."""
    width, patch = vision.size("hidden_size"), vision.size("patch_size")
    patches = (vision.size("image_size") // patch) ** 2
    encoder = _layers(width, vision.size("intermediate_size"), vision.size("num_hidden_layers"))
    embedding = 3 * patch * patch * width + width + patches * width
    return encoder + embedding + 2 * width + width * hidden + width


def _qwen3(vision: Fields, hidden: int) -> int:
    """That of Qwen3-VL and Qwen3.5: mergers after the last layer and after some before."""
    width, patch = vision.size("hidden_size"), vision.size("patch_size")
    frames, merge = vision.size("temporal_patch_size"), vision.size("spatial_merge_size") ** 2
    encoder = _layers(width, vision.size("intermediate_size"), vision.size("depth"))
    embedding = 3 * frames * patch * patch * width + width
    embedding += vision.size("num_position_embeddings") * width
    merged = merge * width
    projection = merged * merged + merged + merged * hidden + hidden
    early = len(vision.items("deepstack_visual_indexes"))
    return encoder + embedding + projection + 2 * width + early * (projection + 2 * merged)


def _gemma4(vision: Fields, hidden: int) -> int:
    """Gemma 4's: gated, without biases, four norms and two of heads, positions of two axes."""
    width, patch = vision.size("hidden_size"), vision.size("patch_size")
    inner, layers = vision.size("intermediate_size"), vision.size("num_hidden_layers")
    layer = 4 * width * width + 3 * width * inner + 4 * width + 2 * vision.size("head_dim")
    embedding = 3 * patch * patch * width + 2 * vision.size("position_embedding_size") * width
    standardized = 2 * width if vision.flag("standardize") else 0
    return layers * layer + embedding + standardized + width * hidden


_KINDS: Mapping[str, Callable[[Fields, int], int]] = {
    "siglip_vision_model": _siglip,
    "gemma4_vision": _gemma4,
    "qwen3_vl": _qwen3,
    "qwen3_vl_moe": _qwen3,
    "qwen3_5": _qwen3,
    "qwen3_5_moe": _qwen3,
}

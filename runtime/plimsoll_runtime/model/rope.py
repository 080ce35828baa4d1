"""Rotary position embedding (Su et al., RoFormer, arXiv:2104.09864), halves rotated as in Llama."""

import math

import torch
from torch import Tensor

from plimsoll_runtime.core.model_config import RopeScaling


def inverse_frequencies(head_dim: int, theta: float, scaling: RopeScaling | None) -> Tensor:
    """Angle per position of each pair of dimensions, `[head_dim / 2]` fp32: theta^(-2i / head_dim).

    `linear` divides all by the factor. `llama3` divides those whose wavelength is beyond the
    original context over `low_freq_factor`, keeps those below it over `high_freq_factor`, and
    blends in between (Llama 3.1's reference code, llama_models/llama3/model.py).
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    frequencies = 1.0 / theta**exponents
    if scaling is None:
        return frequencies
    if scaling.rope_type == "linear":
        return frequencies / scaling.factor
    wavelengths = 2 * math.pi / frequencies
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    # The share that is kept: 0 for long wavelengths, 1 for short ones.
    kept = (scaling.original_max_position_embeddings / wavelengths - low) / (high - low)
    kept = kept.clamp(0.0, 1.0)
    return kept * frequencies + (1 - kept) * frequencies / scaling.factor


def rotation_table(inv_freq: Tensor, num_positions: int) -> Tensor:
    """Cosines and sines for every position: `[num_positions, 2, head_dim / 2]` fp32."""
    positions = torch.arange(num_positions, dtype=torch.int64).float()
    angles = torch.outer(positions, inv_freq)
    return torch.stack((angles.cos(), angles.sin()), dim=1)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotates `x` `[tokens, heads, head_dim]` by `table` `[tokens, 2, head_dim / 2]`, in fp32."""
    cos, sin = table.unsqueeze(2).unbind(1)  # [tokens, 1, head_dim / 2] each
    first, second = x.float().chunk(2, dim=-1)
    rotated = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return rotated.to(x.dtype)

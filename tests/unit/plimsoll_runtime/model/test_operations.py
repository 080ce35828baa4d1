"""The kernels between attention calls against torch, on every instruction set of this machine."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.kernels.library import InstructionSet
from plimsoll_runtime.model.operations import (
    TORCH_OPERATIONS,
    NativeOperations,
    choose_operations,
)
from tests.unit.plimsoll_runtime.built_kernels import kernels

# A unit in the last place of bf16, twice.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2**-7}
on_every_instruction_set = pytest.mark.parametrize(
    "instruction_set", list(InstructionSet), ids=lambda each: each.name
)
rows = st.integers(0, 40)
widths = st.sampled_from([1, 2, 7, 16, 30, 64, 100])
dtypes = st.sampled_from([torch.float32, torch.bfloat16])


def native(instruction_set: InstructionSet, dtype: torch.dtype) -> NativeOperations:
    if instruction_set > kernels().best:
        pytest.skip(f"this processor has no {instruction_set.name}")
    return NativeOperations(kernels(), dtype, instruction_set)


def random(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape).to(dtype)


def close(got: Tensor, expected: Tensor) -> None:
    assert got.dtype == expected.dtype
    tolerance = TOLERANCE[got.dtype]
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


@on_every_instruction_set
@given(count=rows, width=widths, dtype=dtypes, adds=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_norms(
    instruction_set: InstructionSet,
    count: int,
    width: int,
    dtype: torch.dtype,
    adds: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    operations = native(instruction_set, dtype)
    x, weight = random(count, width, dtype=dtype), random(width, dtype=dtype)
    # Rows of a wider tensor.
    added = random(count, width + 3, dtype=dtype)[:, :width] if adds else None
    mine, theirs = x.clone(), x.clone()
    got = operations.add_rms_norm(mine, added, weight, 1e-5)
    close(got, TORCH_OPERATIONS.add_rms_norm(theirs, added, weight, 1e-5))
    assert torch.equal(mine, theirs)


@on_every_instruction_set
@given(
    count=rows,
    head_dim=widths,
    heads=st.integers(1, 4),
    others=st.integers(0, 2),
    dtype=dtypes,
    threads=st.integers(1, 3),
)
@settings(max_examples=20)
def test_norms_of_heads(
    instruction_set: InstructionSet,
    count: int,
    head_dim: int,
    heads: int,
    others: int,
    dtype: torch.dtype,
    threads: int,
) -> None:
    """Of queries and keys, in place, beside values that stay as they are."""
    torch.manual_seed(count)
    native(instruction_set, dtype)
    x, weight = random(count, heads + others, head_dim, dtype=dtype), random(head_dim, dtype=dtype)
    expected, rest = x[:, :heads].clone(), x[:, heads:].clone()
    expected = TORCH_OPERATIONS.add_rms_norm(expected.flatten(0, 1), None, weight, 1e-6)
    kernels().norm_heads(
        x.data_ptr(),
        (heads + others) * head_dim,
        weight.data_ptr(),
        1e-6,
        count,
        heads,
        head_dim,
        2 * instruction_set + (dtype == torch.bfloat16),
        threads,
    )
    close(x[:, :heads], expected.view(count, heads, head_dim))
    assert torch.equal(x[:, heads:], rest)


@on_every_instruction_set
@given(count=rows, width=widths, dtype=dtypes, scale=st.sampled_from([1.0, 100.0]))
@settings(max_examples=20)
def test_activation(
    instruction_set: InstructionSet, count: int, width: int, dtype: torch.dtype, scale: float
) -> None:
    torch.manual_seed(count)
    x = random(count, 2 * width, dtype=dtype) * scale
    got = native(instruction_set, dtype).silu_and_mul(x)
    close(got, TORCH_OPERATIONS.silu_and_mul(x))


@on_every_instruction_set
@given(
    count=rows,
    head_dim=st.sampled_from([2, 8, 20, 64, 96]),
    heads=st.integers(1, 4),
    others=st.integers(0, 2),
    dtype=dtypes,
)
@settings(max_examples=20)
def test_rotation(
    instruction_set: InstructionSet,
    count: int,
    head_dim: int,
    heads: int,
    others: int,
    dtype: torch.dtype,
) -> None:
    torch.manual_seed(count)
    x = random(count, heads + others, head_dim, dtype=dtype)
    angles = torch.randn(count, head_dim // 2)
    table = torch.stack((angles.cos(), angles.sin()), dim=1)
    expected, rest = TORCH_OPERATIONS.rotate(x, heads, table), x[:, heads:].clone()
    close(native(instruction_set, dtype).rotate(x, heads, table), expected)
    assert torch.equal(x[:, heads:], rest)


def test_a_row_depends_on_nothing_beside_it() -> None:
    """Bit for bit."""
    operations = native(kernels().best, torch.bfloat16)
    x, weight = random(300, 100, dtype=torch.bfloat16), random(100, dtype=torch.bfloat16)
    normed = operations.add_rms_norm(x.clone(), None, weight, 1e-6)
    activated = operations.silu_and_mul(x)
    for i in (0, 5, 299):
        row = x[i : i + 1].clone()
        assert torch.equal(operations.silu_and_mul(row)[0], activated[i])
        assert torch.equal(operations.add_rms_norm(row, None, weight, 1e-6)[0], normed[i])


def test_nan_stays_in_its_row() -> None:
    operations = native(kernels().best, torch.bfloat16)
    x = random(3, 32, dtype=torch.bfloat16)
    x[1, 3] = torch.nan
    weight = random(32, dtype=torch.bfloat16)
    normed = operations.add_rms_norm(x.clone(), None, weight, 1e-5)
    for got in (normed, operations.silu_and_mul(x)):
        assert got[[0, 2]].isfinite().all()
        assert got[1].isnan().any()


def test_only_what_fits_is_taken() -> None:
    operations = NativeOperations(kernels(), torch.bfloat16)
    x, weight = (random(3, 8, dtype=torch.bfloat16) for _ in range(2))
    with pytest.raises(ValueError, match=r"added must be torch\.bfloat16 \(3, 8\) on cpu"):
        operations.add_rms_norm(x, x[:2], weight[0], 1e-5)
    with pytest.raises(ValueError, match=r"weight must be .*, not torch\.float32"):
        operations.add_rms_norm(x, None, weight[0].float(), 1e-5)
    with pytest.raises(ValueError, match="x must be contiguous"):
        operations.silu_and_mul(x.t())
    with pytest.raises(ValueError, match="7 columns are no two halves"):
        operations.silu_and_mul(x[:, :7])
    with pytest.raises(ValueError, match="rotations must be contiguous float32"):
        operations.rotate(x.view(3, 2, 4), 1, torch.zeros(3, 2, 4))
    with pytest.raises(ValueError, match="3 of 2 heads"):
        operations.rotate(x.view(3, 2, 4), 3, torch.zeros(3, 2, 2))
    with pytest.raises(ValueError, match=r"float32 and bfloat16, not torch\.float16"):
        NativeOperations(kernels(), torch.float16)


def test_which_operations_a_model_gets() -> None:
    weight = torch.zeros(3)
    assert isinstance(choose_operations(weight, AttentionBackend.TORCH), type(TORCH_OPERATIONS))
    assert choose_operations(weight.half(), AttentionBackend.AUTO) is TORCH_OPERATIONS
    assert choose_operations(weight.to("meta"), AttentionBackend.AUTO) is TORCH_OPERATIONS
    kernels()
    assert isinstance(choose_operations(weight, AttentionBackend.AUTO), NativeOperations)

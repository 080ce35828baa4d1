"""Packed weights: products as torch's, whatever rows are beside, and no reading beyond."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from plimsoll_runtime.kernels.library import InstructionSet
from plimsoll_runtime.model.matrix import PackedMatrix, TorchMatrix, why_not_packed
from tests.unit.plimsoll_runtime.built_kernels import kernels

DTYPES = (torch.float32, torch.bfloat16)
instruction_sets = st.sampled_from(list(InstructionSet))


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(dtype)


def packed(weight: Tensor, wanted: InstructionSet | None = None) -> PackedMatrix:
    """By `wanted`, or by the best of this processor where it is not as good."""
    best = kernels().best
    return PackedMatrix(weight, kernels(), best if wanted is None else min(wanted, best))


@st.composite
def products(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor | None]:
    """x, weight and maybe a bias; sizes around the borders of panels, tiles and parts."""
    dtype = draw(st.sampled_from(DTYPES))
    rows = draw(st.sampled_from([0, 1, 2, 5, 6, 11, 12, 13, 24, 25, 40, 400]))
    inputs = 2 * draw(st.sampled_from([1, 3, 16, 100, 255, 256, 257, 384, 385, 800]))
    outputs = draw(st.sampled_from([1, 15, 16, 17, 31, 32, 33, 64, 95, 129, 300]))
    seed = draw(st.integers(0, 99))
    x = random(rows, inputs, dtype=dtype, seed=seed)
    weight = random(outputs, inputs, dtype=dtype, seed=seed + 1)
    bias = random(outputs, dtype=dtype, seed=seed + 2) if draw(st.booleans()) else None
    return x, weight, bias


@given(products(), instruction_sets)
def test_products_are_those_of_double_precision(
    product: tuple[Tensor, Tensor, Tensor | None], instruction_set: InstructionSet
) -> None:
    x, weight, bias = product
    exact = x.double() @ weight.double().T + (0 if bias is None else bias.double())
    got = packed(weight, instruction_set).multiply(x, bias)
    assert got.shape == exact.shape
    assert got.dtype == x.dtype
    # A sum's error is relative to the summands, the last rounding's to the sum.
    size = x.double().abs() @ weight.double().abs().T
    rounding = 2.0**-8 if x.dtype == torch.bfloat16 else 2.0**-23
    assert ((got - exact).abs() <= size * 1e-5 + exact.abs() * rounding + 1e-6).all()


@given(products(), instruction_sets, st.data())
def test_a_row_is_the_same_alone_and_among_others(
    product: tuple[Tensor, Tensor, Tensor | None],
    instruction_set: InstructionSet,
    data: st.DataObject,
) -> None:
    x, weight, bias = product
    matrix = packed(weight, instruction_set)
    together = matrix.multiply(x, bias)
    if len(x):
        first = data.draw(st.integers(0, len(x) - 1))
        last = data.draw(st.integers(first + 1, len(x)))
        assert torch.equal(matrix.multiply(x[first:last], bias), together[first:last])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(threads: int) -> None:
    matrix, x = packed(random(500, 64)), random(7, 64, seed=1)
    before = torch.get_num_threads()
    expected = matrix.multiply(x)
    torch.set_num_threads(threads)
    try:
        assert torch.equal(matrix.multiply(x), expected)
    finally:
        torch.set_num_threads(before)


def test_logits_are_not_rounded_to_bf16() -> None:
    weight, x = random(40, 64, dtype=torch.bfloat16), random(3, 64, dtype=torch.bfloat16, seed=1)
    got = packed(weight).multiply(x, dtype=torch.float32)
    torch.testing.assert_close(got, x.float() @ weight.float().T, rtol=1e-5, atol=1e-4)


def test_rows_may_lie_apart_or_askew() -> None:
    wide = random(5, 3 * 64, dtype=torch.bfloat16)
    matrix = packed(random(40, 64, dtype=torch.bfloat16, seed=1))
    for x in (wide[:, 64:128], wide[::2, :64], wide[:, 1:65], wide[:, ::3]):
        assert torch.equal(matrix.multiply(x), matrix.multiply(x.contiguous()))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_the_weight_come_back(dtype: torch.dtype) -> None:
    weight = random(70, 48, dtype=dtype)
    matrix = packed(weight)
    indices = torch.tensor([69, 0, 31, 32, 0])
    assert torch.equal(matrix.rows(indices), weight[indices])
    assert torch.equal(matrix.weight(), weight)
    assert torch.equal(matrix.rows(indices), TorchMatrix(weight).rows(indices))
    assert matrix.rows(indices[:0]).shape == (0, 48)


def test_a_weight_with_rows_apart_is_packed_as_it_is() -> None:
    weight = random(40, 128)[:, 32:64]
    assert torch.equal(packed(weight).weight(), weight)


@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_make_the_same_panels_as_the_whole(dtype: torch.dtype) -> None:
    weight = random(100, 24, dtype=dtype)
    whole = packed(weight)
    parts = PackedMatrix(weight, kernels(), kernels().best, empty=True)
    parts.panels.fill_(-1)
    askew = torch.empty(1 + 36 * 24, dtype=dtype)[1:].view(36, 24).copy_(weight[64:])
    parts.pack(64, askew)
    parts.pack(0, weight[:64].double())
    assert torch.equal(parts.panels, whole.panels)


@pytest.mark.parametrize(
    ("first", "rows", "inputs"),
    [(16, 32, 24), (0, 33, 24), (96, 5, 24), (32, 32, 22), (128, 0, 24)],
)
def test_parts_that_are_no_whole_panels_are_refused(first: int, rows: int, inputs: int) -> None:
    matrix = packed(random(100, 24))
    before = matrix.panels.clone()
    with pytest.raises(ValueError, match=f"outputs {first} to {first + rows} of {inputs} inputs"):
        matrix.pack(first, random(rows, inputs))
    assert torch.equal(matrix.panels, before)


def test_nan_stays_in_its_row() -> None:
    x = random(14, 64)
    x[3, 5] = torch.nan
    got = packed(random(33, 64, seed=1)).multiply(x)
    assert got[3].isnan().all()
    assert not got[[i for i in range(14) if i != 3]].isnan().any()


def test_what_does_not_fit_is_refused() -> None:
    matrix = packed(random(40, 64))
    with pytest.raises(ValueError, match=r"\(3, 63\).*wants 64 columns"):
        matrix.multiply(random(3, 63))
    with pytest.raises(ValueError, match=r"torch.bfloat16.*torch.float32"):
        matrix.multiply(random(3, 64, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match=r"the bias is torch.float32 \(39,\)"):
        matrix.multiply(random(3, 64), random(39))
    for beyond in (-1, 40):
        with pytest.raises(IndexError, match="of 40"):
            matrix.rows(torch.tensor([beyond]))
    with pytest.raises(ValueError, match=r"3 columns of torch\.bfloat16 are no whole words"):
        packed(random(4, 3, dtype=torch.bfloat16))
    assert "float16" in (why_not_packed(random(4, 4).half()) or "")
    assert "meta" in (why_not_packed(random(4, 4).to("meta")) or "")

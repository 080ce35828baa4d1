"""Int8 weights: the kernels' integers are exactly torch's, whatever rows are beside."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plimsoll_runtime.kernels.library import InstructionSet
from plimsoll_runtime.model.int8 import (
    Int8Weight,
    TorchInt8Matrix,
    quantize,
    quantize_weight,
    why_not_int8,
)
from plimsoll_runtime.model.packed_int8 import Int8Matrix, WidenedInt8Matrix, why_not_widened
from tests.unit.plimsoll_runtime.built_kernels import kernels

Packed = Int8Matrix | WidenedInt8Matrix

DTYPES = (torch.float32, torch.bfloat16)
instruction_sets = st.sampled_from(list(InstructionSet))
few = settings(max_examples=20)


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(dtype)


def packed(
    weight: Int8Weight,
    dtype: torch.dtype,
    wanted: InstructionSet | None = None,
    *,
    weight_only: bool = False,
) -> Packed:
    """By `wanted`, or by the best of this processor where it is not as good."""
    best = kernels().best
    kind = WidenedInt8Matrix if weight_only else Int8Matrix
    return kind(weight, dtype, kernels(), best if wanted is None else min(wanted, best))


def in_torch(weight: Int8Weight, dtype: torch.dtype) -> TorchInt8Matrix:
    return TorchInt8Matrix(weight, dtype, weight_only=False)


@st.composite
def products(draw: st.DrawFn) -> tuple[Tensor, Int8Weight, Tensor | None]:
    """x, weight and maybe a bias; sizes around the borders of words, panels, tiles and parts."""
    dtype = draw(st.sampled_from(DTYPES))
    rows = draw(st.sampled_from([0, 1, 2, 5, 6, 11, 12, 13, 25, 400]))
    inputs = draw(st.sampled_from([1, 2, 3, 4, 17, 64, 100, 255, 1023, 1028]))
    outputs = draw(st.sampled_from([1, 15, 16, 17, 31, 32, 33, 64, 95, 129, 300]))
    seed = draw(st.integers(0, 99))
    x = random(rows, inputs, dtype=dtype, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    # All of int8: a checkpoint's own may hold -128.
    numbers = torch.randint(-128, 128, (outputs, inputs), generator=generator, dtype=torch.int8)
    scales = random(outputs, seed=seed + 2).abs()
    bias = random(outputs, dtype=dtype, seed=seed + 3) if draw(st.booleans()) else None
    return x, Int8Weight(numbers, scales), bias


@few
@given(products(), instruction_sets)
def test_products_are_those_of_torch(
    product: tuple[Tensor, Int8Weight, Tensor | None], instruction_set: InstructionSet
) -> None:
    x, weight, bias = product
    got = packed(weight, x.dtype, instruction_set).multiply(x, bias)
    want = in_torch(weight, x.dtype).multiply(x, bias)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    # The bias may be added without a rounding before.
    last = 2.0**-7 if x.dtype == torch.bfloat16 else 2.0**-22
    size = want.abs() if bias is None else want.abs() + bias.abs()
    assert ((got - want).abs() <= size * last).all()


@few
@given(products(), instruction_sets)
def test_weight_only_products_are_those_of_double_precision(
    product: tuple[Tensor, Int8Weight, Tensor | None], instruction_set: InstructionSet
) -> None:
    x, weight, bias = product
    if why_not_widened(x.shape[1], x.dtype):
        assert x.shape[1] % 2
        return
    exact = x.double() @ weight.numbers.double().T * weight.scales
    size = x.double().abs() @ weight.numbers.double().abs().T * weight.scales
    exact += 0 if bias is None else bias.double()
    last = 2.0**-8 if x.dtype == torch.bfloat16 else 2.0**-23
    reference = TorchInt8Matrix(weight, x.dtype, weight_only=True)
    for matrix in (packed(weight, x.dtype, instruction_set, weight_only=True), reference):
        got = matrix.multiply(x, bias)
        assert (got.shape, got.dtype) == (exact.shape, x.dtype)
        assert ((got - exact).abs() <= size * 1e-5 + exact.abs() * last + 1e-6).all()


@few
@given(products(), instruction_sets)
def test_sums_of_integers_are_exact(
    product: tuple[Tensor, Int8Weight, Tensor | None], instruction_set: InstructionSet
) -> None:
    x, (numbers, _), _ = product
    whole = torch.randint(-127, 128, x.shape, generator=torch.Generator().manual_seed(1)).float()
    # With 127 in a row its scale is 1. Sums below 2^24 are exact in the fp32 that comes out.
    whole[:, 0] = 127
    matrix = packed(Int8Weight(numbers, torch.ones(len(numbers))), torch.float32, instruction_set)
    assert torch.equal(matrix.multiply(whole), (whole.double() @ numbers.double().T).float())


@pytest.mark.parametrize("instruction_set", InstructionSet)
def test_the_largest_sums_do_not_overflow(instruction_set: InstructionSet) -> None:
    numbers = torch.full((3, 65536), -128, dtype=torch.int8)
    numbers[1] = 127
    x = torch.ones(2, 65536)
    x[1] = -1
    got = packed(Int8Weight(numbers, torch.ones(3)), torch.float32, instruction_set).multiply(x)
    expected = torch.tensor([[-128.0, 127, -128], [128, -127, 128]]) * 65536
    torch.testing.assert_close(got, expected)


@few
@given(products(), instruction_sets, st.data())
def test_a_row_is_the_same_alone_and_among_others(
    product: tuple[Tensor, Int8Weight, Tensor | None],
    instruction_set: InstructionSet,
    data: st.DataObject,
) -> None:
    x, weight, bias = product
    weight_only = why_not_widened(x.shape[1], x.dtype) is None and data.draw(st.booleans())
    matrix = packed(weight, x.dtype, instruction_set, weight_only=weight_only)
    together = matrix.multiply(x, bias)
    if len(x):
        first = data.draw(st.integers(0, len(x) - 1))
        last = data.draw(st.integers(first + 1, len(x)))
        assert torch.equal(matrix.multiply(x[first:last], bias), together[first:last])


@few
@given(
    st.lists(
        st.lists(st.floats(width=32), min_size=21, max_size=21),
        min_size=1,
        max_size=3,
    ),
    instruction_sets,
    st.sampled_from(DTYPES),
)
def test_every_float_is_quantized_as_in_torch(
    values: list[list[float]], instruction_set: InstructionSet, dtype: torch.dtype
) -> None:
    x = torch.tensor(values).to(dtype)
    # Each number by itself comes out: the weight is the identity.
    numbers = torch.eye(21, dtype=torch.int8)
    weight = Int8Weight(numbers, torch.ones(21))
    got = packed(weight, dtype, instruction_set).multiply(x, dtype=torch.float32)
    quantized, scales = quantize(x)
    finite = x.isfinite().all(1)
    assert torch.equal(got[finite], (quantized * scales.unsqueeze(1))[finite])
    assert not got[~finite].isfinite().any()


@pytest.mark.parametrize("weight_only", [False, True])
@pytest.mark.parametrize("instruction_set", InstructionSet)
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_stays_in_its_row(
    wrong: float, instruction_set: InstructionSet, weight_only: bool
) -> None:
    x = random(14, 65)
    x[3, 5] = wrong
    weight = quantize_weight(random(33, 65, seed=1))
    for matrix in (
        packed(weight, x.dtype, instruction_set, weight_only=weight_only),
        TorchInt8Matrix(weight, x.dtype, weight_only=weight_only),
    ):
        got = matrix.multiply(x)
        assert not got[3].isfinite().any()
        assert got[[i for i in range(14) if i != 3]].isfinite().all()


def test_a_quantized_weight_is_near_the_weight() -> None:
    weight = random(2100, 48, dtype=torch.bfloat16)
    weight[7] = 0
    numbers, scales = quantize_weight(weight)
    assert torch.equal(numbers[2000:], quantize(weight[2000:])[0])
    error = (numbers * scales.unsqueeze(1) - weight.float()).abs()
    assert (error <= scales.unsqueeze(1) * 0.501).all()
    assert not numbers[7].any()
    assert (numbers.abs().amax(1)[:7] == 127).all()


@few
@given(
    st.sampled_from(DTYPES),
    st.sampled_from([1, 31, 32, 33, 100]),
    st.sampled_from([2, 4, 6, 64, 1026]),
    st.sampled_from([1e-40, 1.0, 1e30]),
    instruction_sets,
    st.booleans(),
)
def test_a_weight_packed_as_it_is_read_is_the_one_quantized_before(
    dtype: torch.dtype,
    outputs: int,
    inputs: int,
    size: float,
    instruction_set: InstructionSet,
    weight_only: bool,
) -> None:
    weight = (random(outputs, inputs) * size).to(dtype)
    chosen = min(instruction_set, kernels().best)
    kind = WidenedInt8Matrix if weight_only else Int8Matrix
    matrix = kind(weight.shape, dtype, kernels(), chosen)
    # The last panels first, and of a type that the weight is not made of.
    for first, rows in reversed(list(enumerate(weight.double().split(64)))):
        matrix.pack(64 * first, rows)
    wanted = packed(quantize_weight(weight), dtype, chosen, weight_only=weight_only)
    for name, parameter in wanted.named_parameters():
        assert torch.equal(matrix.get_parameter(name), parameter)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_a_weight_that_is_not_finite_spoils_its_own_output_alone(wrong: float) -> None:
    weight = random(40, 64)
    weight[35, 7] = wrong
    matrix = Int8Matrix(weight.shape, torch.float32, kernels(), kernels().best)
    matrix.pack(0, weight)
    got = matrix.multiply(random(3, 64, seed=1))
    assert not got[:, 35].isfinite().any()
    assert got[:, [i for i in range(40) if i != 35]].isfinite().all()


@pytest.mark.parametrize(("first", "count"), [(1, 32), (0, 31), (32, 33), (64, 8)])
def test_what_is_no_whole_panels_is_not_packed(first: int, count: int) -> None:
    matrix = Int8Matrix(torch.Size((64, 8)), torch.float32, kernels(), kernels().best)
    with pytest.raises(ValueError, match="no whole panels of 64 of 8"):
        matrix.pack(first, random(count, 8))


@few
@given(
    dtype=st.sampled_from(DTYPES),
    weight_only=st.booleans(),
    inputs=st.integers(1, 60),
    chosen=instruction_sets,
    indices=st.lists(st.integers(0, 69), max_size=400),
)
def test_any_rows_of_the_weight_come_back(
    dtype: torch.dtype,
    weight_only: bool,
    inputs: int,
    chosen: InstructionSet,
    indices: list[int],
) -> None:
    inputs *= 2 if weight_only else 1
    weight = quantize_weight(random(70, inputs))
    matrix = packed(weight, dtype, chosen, weight_only=weight_only)
    at = torch.tensor(indices, dtype=torch.int64)
    got = matrix.rows(at)
    assert torch.equal(got, in_torch(weight, dtype).rows(at))
    assert torch.equal(matrix.rows(at.repeat_interleave(2)[::2]), got)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight_only", [False, True])
def test_all_of_the_weight_comes_back(dtype: torch.dtype, weight_only: bool) -> None:
    weight = quantize_weight(random(70, 46 if weight_only else 47))
    matrix = packed(weight, dtype, weight_only=weight_only)
    reference = in_torch(weight, dtype)
    assert all(map(torch.equal, matrix.int8(), weight))
    assert torch.equal(matrix.weight(), reference.weight())
    assert torch.equal(matrix.weight(), (weight.numbers * weight.scales.unsqueeze(1)).to(dtype))


@pytest.mark.parametrize("weight_only", [False, True])
def test_rows_may_lie_apart_or_askew(weight_only: bool) -> None:
    wide = random(5, 3 * 64, dtype=torch.bfloat16)
    weight = quantize_weight(random(40, 64, seed=1))
    matrix = packed(weight, torch.bfloat16, weight_only=weight_only)
    for x in (wide[:, 64:128], wide[::2, :64], wide[:, 1:65], wide[:, ::3]):
        assert torch.equal(matrix.multiply(x), matrix.multiply(x.contiguous()))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(threads: int) -> None:
    matrix = packed(quantize_weight(random(500, 64)), torch.float32)
    x = random(700, 64, seed=1)
    before = torch.get_num_threads()
    expected = matrix.multiply(x)
    torch.set_num_threads(threads)
    try:
        assert torch.equal(matrix.multiply(x), expected)
    finally:
        torch.set_num_threads(before)


def test_what_does_not_fit_is_refused() -> None:
    matrix = packed(quantize_weight(random(40, 64)), torch.float32)
    with pytest.raises(ValueError, match=r"\(3, 63\).*wants 64 columns"):
        matrix.multiply(random(3, 63))
    with pytest.raises(ValueError, match=r"torch.bfloat16.*torch.float32"):
        matrix.multiply(random(3, 64).bfloat16())
    with pytest.raises(ValueError, match=r"the bias is torch.float32 \(39,\)"):
        matrix.multiply(random(3, 64), random(39))
    for beyond in (-1, 40):
        with pytest.raises(IndexError, match="of 40"):
            matrix.rows(torch.tensor([beyond]))
    with pytest.raises(ValueError, match=r"63 columns of torch.bfloat16 are no whole words"):
        packed(quantize_weight(random(4, 63)), torch.bfloat16, weight_only=True)
    assert "65537 inputs" in (why_not_int8(torch.empty(1, 65537)) or "")
    assert "meta" in (why_not_int8(random(4, 4).to("meta")) or "")
    assert why_not_int8(random(4, 4)) is None

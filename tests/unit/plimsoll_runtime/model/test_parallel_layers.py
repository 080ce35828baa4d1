"""The shards of a layer together are the layer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from plimsoll_runtime.model.parallel import (
    SINGLE,
    ColumnParallelLinear,
    Columns,
    Group,
    Part,
    RowParallelLinear,
    VocabParallel,
)
from tests.unit.plimsoll_runtime.model.rank_threads import on_ranks

SIZES = st.integers(1, 4)
SMALL = st.integers(1, 5)


def fill(parts: dict[str, Part], whole: dict[str, Tensor]) -> None:
    """Loads what each part wants of the whole tensors."""
    for name, part in parts.items():
        assert list(whole[name].shape) == part.whole_shape
        part.tensor.copy_(whole[name][part.region])


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@given(SIZES, SMALL, SMALL, SMALL, st.booleans())
def test_columns_side_by_side_are_the_whole_output(
    size: int, inputs: int, first: int, second: int, bias: bool
) -> None:
    outputs = (first, second)
    whole = {
        f"{name}.weight": random(n * size, inputs) for name, n in zip("ab", outputs, strict=True)
    }
    if bias:
        whole |= {f"{name}.bias": random(n * size) for name, n in zip("ab", outputs, strict=True)}
    x = random(3, inputs)

    def shard(rank: int, count: int) -> ColumnParallelLinear:
        columns = tuple(
            Columns(n * size // count, rank * n * size // count, n * size) for n in outputs
        )
        layer = ColumnParallelLinear(inputs, columns, bias)
        fill(layer.checkpoint_parts("", ("a", "b")), whole)
        return layer

    shards = [shard(rank, size)(x).split(list(outputs), dim=1) for rank in range(size)]
    joined = torch.cat([*(each[0] for each in shards), *(each[1] for each in shards)], dim=1)
    torch.testing.assert_close(joined, shard(0, 1)(x))


@given(SIZES, SMALL, SMALL, st.booleans())
def test_rows_sum_to_the_whole_output_with_one_bias(
    size: int, inputs: int, outputs: int, bias: bool
) -> None:
    whole = {"o.weight": random(outputs, inputs * size)}
    if bias:
        whole["o.bias"] = random(outputs)
    x = random(3, inputs * size)

    def run(group: Group) -> Tensor:
        share = inputs * size // group.size
        layer = RowParallelLinear(share, outputs, bias, group)
        fill(layer.checkpoint_parts("", "o"), whole)
        return layer(x[:, group.rank * share : (group.rank + 1) * share])

    expected = run(SINGLE)
    for result in on_ranks(size, run):
        torch.testing.assert_close(result, expected)


@given(SIZES, st.integers(1, 11), SMALL)
def test_the_vocabulary_is_embedded_and_scored_as_a_whole(
    size: int, vocab_size: int, hidden: int
) -> None:
    whole = {"embed": random(vocab_size, hidden)}
    ids = torch.arange(vocab_size)
    x = random(3, hidden)

    def run(group: Group) -> tuple[Tensor, Tensor]:
        layer = VocabParallel(vocab_size, hidden, group)
        layer.weight.fill_(torch.nan)  # what nobody loads must not be seen
        layer.weight[len(layer.ids) :].zero_()
        fill(layer.checkpoint_parts("embed"), whole)
        return layer.embed(ids), layer.logits(x)

    expected_vectors, expected_logits = run(SINGLE)
    results = on_ranks(size, run)
    for vectors, _ in results:
        assert torch.equal(vectors, expected_vectors)
    torch.testing.assert_close(results[0][1], expected_logits)


def test_a_rank_alone_sends_nothing() -> None:
    class Silent:
        rank, size = 0, 1

        def all_reduce(self, x: Tensor) -> Tensor:
            raise AssertionError("nobody is there")

        gather = staticmethod(lambda x: x)

    layer = RowParallelLinear(2, 2, False, Silent())
    assert layer(torch.zeros(1, 2)).shape == (1, 2)
    assert VocabParallel(3, 2, Silent()).embed(torch.tensor([2])).shape == (1, 2)


@pytest.mark.parametrize(
    ("dim", "start", "region", "is_all"),
    [
        (0, 4, (slice(4, 6),), False),
        (1, 3, (slice(None), slice(3, 6)), False),
        (0, 0, (slice(0, 2),), True),
    ],
)
def test_a_part_knows_what_it_holds(
    dim: int, start: int, region: tuple[slice, ...], is_all: bool
) -> None:
    whole = 2 if is_all else 8
    part = Part(torch.empty(2, 3), dim, start, whole)
    assert (part.region, part.is_all) == (region, is_all)
    assert part.whole_shape == ([whole, 3] if dim == 0 else [2, whole])

"""Where a step's tokens are, from step to step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.attention.metadata import MetadataBuilder, SequenceSpan, build_metadata

CPU = torch.device("cpu")
NULL_BLOCK = 10


def test_metadata_says_where_everything_is() -> None:
    spans = [SequenceSpan(5, 1, [7, 3]), SequenceSpan(2, 4, [1, 0, 9])]
    metadata = build_metadata(spans, 4, NULL_BLOCK, CPU)
    assert metadata.query_start_loc.tolist() == [0, 1, 5]
    assert metadata.seq_lens.tolist() == [6, 6]
    assert metadata.block_tables.tolist() == [[7, 3, 10], [1, 0, 9]]
    assert metadata.positions.tolist() == [5, 2, 3, 4, 5]
    assert metadata.slot_mapping.tolist() == [3 * 4 + 1, 1 * 4 + 2, 1 * 4 + 3, 0, 1]


def test_a_short_block_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 blocks of 4 tokens does not cover 9 tokens"):
        build_metadata([SequenceSpan(8, 1, [0, 1])], 4, NULL_BLOCK, CPU)


@pytest.mark.parametrize("block", [-1, 11])
def test_a_block_that_is_not_there_is_an_error_each_time(block: int) -> None:
    builder = MetadataBuilder(4, NULL_BLOCK, CPU)
    builder.build([SequenceSpan(0, 1, [0])])
    for _ in range(2):
        with pytest.raises(ValueError, match="names a block beyond 10"):
            builder.build([SequenceSpan(0, 1, [block])])


tables = st.lists(st.integers(0, NULL_BLOCK), min_size=1, max_size=6)


@st.composite
def steps(draw: st.DrawFn) -> list[SequenceSpan]:
    spans = []
    for table in draw(st.lists(tables, max_size=5)):
        stop = draw(st.integers(1, 4 * len(table)))
        new = draw(st.integers(1, stop))
        spans.append(SequenceSpan(stop - new, new, table))
    return spans


@given(st.lists(steps(), max_size=6))
def test_nothing_of_the_steps_before_is_left(several: list[list[SequenceSpan]]) -> None:
    builder = MetadataBuilder(4, NULL_BLOCK, CPU)
    for spans in several:
        got, fresh = builder.build(spans), build_metadata(spans, 4, NULL_BLOCK, CPU)
        for name in ("query_start_loc", "seq_lens", "positions", "slot_mapping", "block_tables"):
            assert torch.equal(getattr(got, name), getattr(fresh, name))


def test_memory_stays_in_place_while_the_step_has_the_same_shape() -> None:
    builder = MetadataBuilder(4, NULL_BLOCK, CPU)
    first = builder.build([SequenceSpan(4, 1, [1, 2]), SequenceSpan(0, 1, [3])])
    second = builder.build([SequenceSpan(5, 1, [1, 2]), SequenceSpan(1, 1, [3])])
    assert second.seq_lens is first.seq_lens
    assert second.block_tables is first.block_tables

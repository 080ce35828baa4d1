"""The block pool's books always balance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.core.blocks import BlockPool, OutOfBlocksError


def test_allocated_blocks_are_distinct_and_counted() -> None:
    pool = BlockPool(4)
    taken = pool.allocate(3)
    assert len(set(taken)) == 3
    assert (pool.num_free, pool.num_used) == (1, 3)
    assert [pool.references(block) for block in taken] == [1, 1, 1]


def test_asking_for_too_many_takes_none() -> None:
    pool = BlockPool(4)
    pool.allocate(2)
    with pytest.raises(OutOfBlocksError, match="3 blocks asked for, 2 are free"):
        pool.allocate(3)
    assert pool.num_free == 2


def test_the_block_freed_longest_ago_is_reused_first() -> None:
    pool = BlockPool(3)
    first, second, third = pool.allocate(3)
    pool.free([second])
    pool.free([first])
    pool.free([third])
    assert pool.allocate(3) == [second, first, third]


def test_a_shared_block_is_free_only_when_all_have_left() -> None:
    pool = BlockPool(2)
    taken = pool.allocate(1)
    pool.share(taken)
    pool.free(taken)
    assert pool.num_used == 1
    pool.free(taken)
    assert pool.num_used == 0


def test_freeing_twice_and_sharing_a_free_block_are_errors() -> None:
    pool = BlockPool(2)
    taken = pool.allocate(1)
    pool.free(taken)
    with pytest.raises(ValueError, match="freed twice"):
        pool.free(taken)
    with pytest.raises(ValueError, match="is free"):
        pool.share(taken)


def test_a_pool_has_at_least_one_block() -> None:
    with pytest.raises(ValueError, match="num_blocks"):
        BlockPool(0)


@given(
    num_blocks=st.integers(1, 12),
    actions=st.lists(st.tuples(st.sampled_from("asf"), st.integers(0, 5)), max_size=60),
)
def test_free_and_used_always_add_up(num_blocks: int, actions: list[tuple[str, int]]) -> None:
    pool = BlockPool(num_blocks)
    held: list[list[int]] = []
    for action, number in actions:
        if action == "a" and number <= pool.num_free:
            held.append(pool.allocate(number))
        elif action == "s" and held:
            blocks = held[number % len(held)]
            pool.share(blocks)
            held.append(blocks)
        elif action == "f" and held:
            pool.free(held.pop(number % len(held)))
        counts = [sum(blocks.count(b) for blocks in held) for b in range(num_blocks)]
        assert [pool.references(b) for b in range(num_blocks)] == counts
        assert pool.num_used == sum(count > 0 for count in counts)
        assert pool.num_free + pool.num_used == num_blocks

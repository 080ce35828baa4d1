"""The block pool's books always balance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.core.blocks import BlockKey, BlockPool, CachedBlock, OutOfBlocksError


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


def test_the_block_freed_last_is_reused_first_and_before_any_that_was_never_used() -> None:
    """Its memory has been lent, and may still be in a processor's cache."""
    pool = BlockPool(5)
    first, second, third = pool.allocate(3)
    assert [first, second, third] == [0, 1, 2]
    pool.free([second])
    pool.free([first])
    pool.free([third])
    assert pool.allocate(5) == [third, first, second, 3, 4]


def test_the_highest_blocks_are_withheld() -> None:
    pool = BlockPool(5)
    pool.limit(3)
    assert pool.allocate(3) == [0, 1, 2]
    pool.limit(5)
    assert sorted(pool.allocate(2)) == [3, 4]


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


def key(digest: int, tokens: int) -> BlockKey:
    return BlockKey(bytes([digest]), bytes([tokens]))


def chain(pool: BlockPool, length: int, salt: str = "") -> list[CachedBlock]:
    """Blocks in use that build on each other."""
    cached: list[CachedBlock] = []
    for position, block_id in enumerate(pool.allocate(length)):
        parent = cached[-1] if cached else salt
        digest = position.to_bytes(4)
        cached.append(pool.insert(block_id, BlockKey(digest, digest), parent))
    return cached


def test_a_freed_block_is_found_until_it_is_handed_out() -> None:
    pool = BlockPool(2)
    (block,) = chain(pool, 1)
    pool.free([block.block_id])
    assert pool.num_used == 0
    assert pool.find(block.key, "") is block
    pool.allocate(1)
    assert pool.find(block.key, "") is block, "the block without content goes first"
    assert pool.allocate(1) == [block.block_id]
    assert pool.find(block.key, "") is None


def test_sharing_a_found_block_takes_it_from_the_middle_of_the_free_ones() -> None:
    pool = BlockPool(3)
    first, second, third = chain(pool, 3)
    pool.free([first.block_id, second.block_id, third.block_id])
    pool.share([second.block_id])
    assert (pool.num_free, pool.references(second.block_id)) == (2, 1)
    assert pool.allocate(2) == [first.block_id, third.block_id]
    with pytest.raises(OutOfBlocksError):
        pool.allocate(1)


def test_the_least_recently_used_content_goes_first() -> None:
    pool = BlockPool(4)
    blocks = [
        pool.insert(block_id, key(number, number), "")
        for number, block_id in enumerate(pool.allocate(4))
    ]
    pool.free([block.block_id for block in blocks])
    pool.share([blocks[0].block_id])
    pool.free([blocks[0].block_id])  # used again, so now the last to go
    gone = []
    for _ in range(4):
        pool.allocate(1)
        gone += [b for b in blocks if b not in gone and pool.find(b.key, "") is None]
    assert gone == [blocks[1], blocks[2], blocks[3], blocks[0]]


def test_the_same_content_is_kept_once() -> None:
    pool = BlockPool(2)
    first, second = pool.allocate(2)
    kept = pool.insert(first, key(1, 1), "")
    assert pool.insert(second, key(1, 1), "") is kept


def test_a_hash_alone_proves_nothing() -> None:
    pool = BlockPool(4)
    first, second, third, fourth = pool.allocate(4)
    one = pool.insert(first, key(7, 1), "")
    assert pool.find(key(7, 2), "") is None
    assert pool.find(key(7, 1), "other salt") is None
    assert pool.find(key(7, 1), one) is None
    two = pool.insert(second, key(7, 2), "")
    assert (pool.find(key(7, 1), ""), pool.find(key(7, 2), "")) == (None, two)
    again = pool.insert(third, key(7, 1), "")
    assert again is not one
    # What built on the first has the same tokens before it, but nobody can vouch for that.
    child = pool.insert(fourth, key(8, 3), one)
    assert pool.find(key(8, 3), again) is None
    assert pool.find(key(8, 3), one) is child


def test_a_long_chain_can_be_shown_and_dropped() -> None:
    pool = BlockPool(50_000)
    last = chain(pool, 50_000)[-1]
    assert last.depth == 50_000
    assert "depth=50000" in repr(last)
    del pool, last


def test_forgotten_content_leaves_its_holders_alone() -> None:
    pool = BlockPool(2)
    held, freed = chain(pool, 2)
    pool.free([freed.block_id])
    for block in (held, freed, held):
        pool.forget(block)
    assert (pool.num_used, pool.num_free) == (1, 1)
    assert pool.find(held.key, "") is None
    assert pool.find(freed.key, held) is None
    with pytest.raises(ValueError, match="is free"):
        pool.share([freed.block_id])
    pool.free([held.block_id])
    assert sorted(pool.allocate(2)) == [0, 1]


def test_only_a_block_in_use_gets_content_and_only_once() -> None:
    pool = BlockPool(2)
    (block_id,) = pool.allocate(1)
    pool.insert(block_id, key(1, 1), "")
    for wrong in (block_id, 1 - block_id):
        with pytest.raises(ValueError, match="is free or has content"):
            pool.insert(wrong, key(2, 2), "")


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

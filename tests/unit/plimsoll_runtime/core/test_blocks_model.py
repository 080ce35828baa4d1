"""The block pool against a model that keeps everything in plain lists and trusts no hash."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from plimsoll_runtime.core.blocks import BlockKey, BlockPool, CachedBlock

NUM_BLOCKS = 6
CONTENTS = 9
numbers = st.integers(0, CONTENTS - 1)


def key(number: int) -> BlockKey:
    """Of the nine contents, three each have the same hash."""
    return BlockKey(bytes([number % 3]), bytes([number]))


class PoolModel(RuleBasedStateMachine):
    """`held` has a block once for each holder; `known` what should be findable, by block; `order`
    the free blocks with content, least recently used first; `withheld` how many are out of use,
    of `NUM_BLOCKS - usable` that should be."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(NUM_BLOCKS)
        self.held: list[int] = []
        self.known: dict[int, CachedBlock] = {}
        self.order: list[int] = []
        self.usable = NUM_BLOCKS
        self.withheld = 0

    @property
    def blank(self) -> int:
        return NUM_BLOCKS - len(set(self.held)) - len(self.order) - self.withheld

    def withhold(self) -> None:
        """Blank blocks first, then the least recently used."""
        self.withheld = min(self.withheld, NUM_BLOCKS - self.usable)
        while self.withheld < NUM_BLOCKS - self.usable and (self.blank or self.order):
            if not self.blank:
                self.unknow(self.order[0])
            self.withheld += 1

    def unknow(self, block_id: int) -> None:
        del self.known[block_id]
        if block_id in self.order:
            self.order.remove(block_id)

    @precondition(lambda self: self.pool.num_free > 0)
    @rule()
    def allocate(self) -> None:
        blank = self.blank
        (block_id,) = self.pool.allocate(1)
        assert block_id not in self.held
        if not blank:
            assert block_id == self.order[0]
            self.unknow(block_id)
        assert block_id not in self.known
        self.held.append(block_id)

    @precondition(lambda self: bool(self.known))
    @rule(number=numbers)
    def share(self, number: int) -> None:
        block_id = sorted(self.known)[number % len(self.known)]
        self.pool.share([block_id])
        self.held.append(block_id)
        if block_id in self.order:
            self.order.remove(block_id)

    @precondition(lambda self: bool(self.held))
    @rule(number=numbers)
    def free(self, number: int) -> None:
        block_id = self.held.pop(number % len(self.held))
        self.pool.free([block_id])
        if block_id not in self.held and block_id in self.known:
            self.order.append(block_id)
        self.withhold()

    @rule(usable=st.integers(1, NUM_BLOCKS))
    def limit(self, usable: int) -> None:
        self.pool.limit(usable)
        self.usable = usable
        self.withhold()

    @precondition(lambda self: bool(set(self.held) - set(self.known)))
    @rule(number=numbers, content=numbers)
    def insert(self, number: int, content: int) -> None:
        candidates = sorted(set(self.held) - set(self.known))
        block_id = candidates[number % len(candidates)]
        cached = self.pool.insert(block_id, key(content), "")
        same = [each for each in self.known.values() if each.key == key(content)]
        if same:
            assert same == [cached]
            return
        for other, each in list(self.known.items()):
            if each.key.digest == key(content).digest:
                self.unknow(other)
        assert (cached.block_id, cached.key, cached.depth) == (block_id, key(content), 1)
        self.known[block_id] = cached

    @precondition(lambda self: bool(self.known))
    @rule(number=numbers)
    def forget(self, number: int) -> None:
        block_id = sorted(self.known)[number % len(self.known)]
        self.pool.forget(self.known[block_id])
        self.unknow(block_id)

    @invariant()
    def books_balance(self) -> None:
        counts = [self.held.count(block_id) for block_id in range(NUM_BLOCKS)]
        assert [self.pool.references(block_id) for block_id in range(NUM_BLOCKS)] == counts
        assert self.pool.num_used == len(set(self.held))
        assert self.pool.num_withheld == self.withheld
        assert self.pool.num_free + self.pool.num_used + self.withheld == NUM_BLOCKS
        assert self.pool.num_free + self.pool.num_used <= max(self.usable, self.pool.num_used)

    @invariant()
    def what_is_known_is_found_and_nothing_else(self) -> None:
        by_key = {each.key: each for each in self.known.values()}
        assert len(by_key) == len(self.known)
        for number in range(CONTENTS):
            assert self.pool.find(key(number), "") is by_key.get(key(number))


TestPoolModel = PoolModel.TestCase
TestPoolModel.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)

"""Who holds which block of the KV cache, and what the blocks hold that are full.

Blocks are numbers here; the tensors are elsewhere.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


class OutOfBlocksError(RuntimeError):
    """More blocks were asked for than are free."""


class BlockKey(NamedTuple):
    """What a full block is looked up by.

    `digest` hashes all tokens up to the block's end, and the salt; `tokens` are the block's own,
    packed, for comparison.
    """

    digest: bytes
    tokens: bytes


@dataclass(eq=False, slots=True)
class CachedBlock:
    """A full block that can be found by its content: its own tokens after those of `parent`.

    The first block's parent is the salt. As a parent is compared by identity, two of these stand
    for the same tokens only if all blocks before them do, whatever the hash says. `depth` is how
    many blocks the prefix up to this one has.
    """

    block_id: int
    key: BlockKey
    parent: "CachedBlock | str" = field(repr=False)
    depth: int

    def holds(self, key: BlockKey, parent: "CachedBlock | str") -> bool:
        """Whether this is the block of these tokens after that parent."""
        return self.key.tokens == key.tokens and self.parent == parent


class BlockPool:
    """`num_blocks` blocks with reference counts; every operation is O(1) a block.

    The free blocks are the cache: one whose content is known stays findable until it is handed
    out for something else. Free blocks without content go first, of these the one last given back
    and then the lowest that was never used, whose memory may not have been lent yet; then the one
    least recently given back.
    """

    def __init__(self, num_blocks: int) -> None:
        if num_blocks < 1:
            raise ValueError(f"num_blocks must be at least 1, not {num_blocks}")
        self.num_blocks = num_blocks
        self._references = [0] * num_blocks
        self.num_usable = num_blocks
        self._blank = deque(range(num_blocks))
        self._withheld: list[int] = []
        self._kept: OrderedDict[int, CachedBlock] = OrderedDict()
        self._contents: dict[int, CachedBlock] = {}
        self._index: dict[bytes, CachedBlock] = {}

    @property
    def num_free(self) -> int:
        """Blocks that nobody holds, findable or not."""
        return len(self._blank) + len(self._kept)

    @property
    def num_withheld(self) -> int:
        """Blocks that nobody holds or can get."""
        return len(self._withheld)

    @property
    def num_used(self) -> int:
        """Blocks that at least one sequence holds."""
        return self.num_blocks - self.num_free - self.num_withheld

    def limit(self, num_usable: int) -> None:
        """Lets at most `num_usable` blocks be used from now on.

        While more are in use, none is free, and what is given back is withheld. Raises ValueError
        unless 1 ≤ `num_usable` ≤ `num_blocks`.
        """
        if not 1 <= num_usable <= self.num_blocks:
            raise ValueError(f"num_usable must be 1 to {self.num_blocks}, not {num_usable}")
        self.num_usable = num_usable
        while self.num_withheld > self.num_blocks - num_usable:
            self._blank.append(self._withheld.pop())
        self._withhold()

    def references(self, block_id: int) -> int:
        """How many holders a block has."""
        return self._references[block_id]

    def allocate(self, count: int) -> list[int]:
        """Takes `count` free blocks, each with one reference; what they held is forgotten.

        Raises OutOfBlocksError, and takes none, when fewer are free.
        """
        if count > self.num_free:
            raise OutOfBlocksError(f"{count} blocks asked for, {self.num_free} are free")
        while count > len(self._blank):
            self._evict()
        taken = [self._blank.popleft() for _ in range(count)]
        for block_id in taken:
            self._references[block_id] = 1
        return taken

    def share(self, block_ids: Iterable[int]) -> None:
        """Adds a holder to blocks that are in use, or free and findable.

        Raises ValueError for a free block without content.
        """
        for block_id in block_ids:
            if self._references[block_id] == 0 and self._kept.pop(block_id, None) is None:
                raise ValueError(f"block {block_id} is free and cannot be shared")
            self._references[block_id] += 1

    def free(self, block_ids: Iterable[int]) -> None:
        """Drops one reference of each; a block without holders can be handed out again.

        Raises ValueError for a block that is free already.
        """
        for block_id in block_ids:
            count = self._references[block_id]
            if count == 0:
                raise ValueError(f"block {block_id} was freed twice")
            self._references[block_id] = count - 1
            if count == 1:
                content = self._contents.get(block_id)
                if content is None:
                    self._blank.appendleft(block_id)
                else:
                    self._kept[block_id] = content
        self._withhold()

    def find(self, key: BlockKey, parent: CachedBlock | str) -> CachedBlock | None:
        """The block, in use or free, that holds these tokens after that parent."""
        found = self._index.get(key.digest)
        return found if found is not None and found.holds(key, parent) else None

    def insert(self, block_id: int, key: BlockKey, parent: CachedBlock | str) -> CachedBlock:
        """Makes a full block findable; returns the block that holds this content already, if any.

        Content whose hash is that of another's replaces it. Raises ValueError when the block is
        free or findable as something else.
        """
        found = self._index.get(key.digest)
        if found is not None:
            if found.holds(key, parent):
                return found
            self.forget(found)
        if not self._references[block_id] or block_id in self._contents:
            raise ValueError(f"block {block_id} is free or has content already")
        depth = 1 if isinstance(parent, str) else parent.depth + 1
        cached = CachedBlock(block_id, key, parent, depth)
        self._contents[block_id] = self._index[key.digest] = cached
        return cached

    def forget(self, cached: CachedBlock) -> None:
        """Makes a block unfindable; those who hold it keep it. May be called twice."""
        if self._contents.get(cached.block_id) is not cached:
            return
        del self._contents[cached.block_id], self._index[cached.key.digest]
        if self._kept.pop(cached.block_id, None) is not None:
            self._blank.appendleft(cached.block_id)

    def _evict(self) -> None:
        """Forgets what the free block least recently given back holds."""
        block_id, cached = self._kept.popitem(last=False)
        del self._contents[block_id], self._index[cached.key.digest]
        self._blank.append(block_id)

    def _withhold(self) -> None:
        """Takes free blocks out of use, blank ones first, until no more than usable are left."""
        while self.num_withheld < self.num_blocks - self.num_usable and self.num_free:
            if not self._blank:
                self._evict()
            self._withheld.append(self._blank.pop())

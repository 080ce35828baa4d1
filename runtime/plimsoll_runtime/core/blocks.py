"""Who holds which block of the KV cache. Blocks are numbers here; the tensors are elsewhere."""

from collections import deque
from collections.abc import Iterable


class OutOfBlocksError(RuntimeError):
    """More blocks were asked for than are free."""


class BlockPool:
    """`num_blocks` blocks with reference counts; taking and giving back are O(1) a block.

    Blocks are handed out in the order in which they were given back, so the one least recently
    used goes first.
    """

    def __init__(self, num_blocks: int) -> None:
        if num_blocks < 1:
            raise ValueError(f"num_blocks must be at least 1, not {num_blocks}")
        self.num_blocks = num_blocks
        self._free = deque(range(num_blocks))
        self._references = [0] * num_blocks

    @property
    def num_free(self) -> int:
        """Blocks that nobody holds."""
        return len(self._free)

    @property
    def num_used(self) -> int:
        """Blocks that at least one sequence holds."""
        return self.num_blocks - len(self._free)

    def references(self, block_id: int) -> int:
        """How many holders a block has."""
        return self._references[block_id]

    def allocate(self, count: int) -> list[int]:
        """Takes `count` free blocks, each with one reference.

        Raises OutOfBlocksError, and takes none, when fewer are free.
        """
        if count > len(self._free):
            raise OutOfBlocksError(f"{count} blocks asked for, {len(self._free)} are free")
        taken = [self._free.popleft() for _ in range(count)]
        for block_id in taken:
            self._references[block_id] = 1
        return taken

    def share(self, block_ids: Iterable[int]) -> None:
        """Adds a holder to blocks that are in use. Raises ValueError for a free one."""
        for block_id in block_ids:
            if self._references[block_id] == 0:
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
                self._free.append(block_id)

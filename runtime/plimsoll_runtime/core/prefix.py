"""Prefix caching: what is in the KV cache already is shared and not computed again.

Full blocks are found by a hash over all tokens up to their end, and compared by content, so that
not even a collision could show one request another's tokens. The salt is part of the first
block's key, and so of the whole chain: requests with different salts never share a block, and no
request's latency tells what another tenant asked.
"""

from array import array
from collections.abc import Callable, Iterable
from hashlib import blake2b

from plimsoll_runtime.core.blocks import BlockKey, BlockPool, CachedBlock
from plimsoll_runtime.core.request import Request

DIGEST_BYTES = 16
TOKEN_BYTES = 8

HashBlock = Callable[[bytes, bytes], bytes]
"""From the digest of what is before a block, and the block's packed tokens, to its digest."""


def hash_block(before: bytes, tokens: bytes) -> bytes:
    """BLAKE2b (RFC 7693): nobody who chooses the prompts can make blocks collide."""
    return blake2b(before + tokens, digest_size=DIGEST_BYTES).digest()


class PrefixCache:
    """Keeps requests' prefixes findable in a block pool. Does nothing unless `enabled`.

    `num_queries` and `num_hits` count the tokens of requests that were admitted for the first
    time, and those of them that were found; resuming after a preemption is not counted.
    """

    def __init__(
        self,
        pool: BlockPool,
        block_size: int,
        *,
        enabled: bool = True,
        hash_block: HashBlock = hash_block,
    ) -> None:
        self.num_queries = 0
        self.num_hits = 0
        self._pool = pool
        self._block_size = block_size
        self._enabled = enabled
        self._hash = hash_block

    def lookup(self, request: Request) -> list[CachedBlock]:
        """The longest run of blocks that hold the request's first tokens.

        Never all of its tokens: the last one must be computed for its logits. None where logits or
        hidden states of the whole prompt are wanted: the cache does not hold them.
        """
        found: list[CachedBlock] = []
        if not self._enabled or request.sampling.needs_whole_prompt:
            return found
        parent: CachedBlock | str = request.cache_salt
        for index in range((request.num_tokens - 1) // self._block_size):
            block = self._pool.find(self._keys(request, index + 1)[index], parent)
            if block is None:
                break
            found.append(block)
            parent = block
        return found

    def num_revived(self, found: Iterable[CachedBlock]) -> int:
        """How many of these blocks are free ones, which sharing makes used ones."""
        return sum(not self._pool.references(block.block_id) for block in found)

    def attach(self, request: Request, found: list[CachedBlock]) -> None:
        """Starts a request that holds no blocks with those that `lookup` found for it."""
        hit = len(found) * self._block_size
        if found:
            request.block_ids = [block.block_id for block in found]
            self._pool.share(request.block_ids)
            request.prefix = found[-1]
            request.num_computed_tokens = hit
        if self._enabled and request.first_scheduled_time is None:
            request.num_cached_tokens = hit
            self.num_queries += request.num_tokens
            self.num_hits += hit

    def register(self, request: Request) -> None:
        """Makes findable the blocks whose tokens have all been computed.

        Where another request has computed the same meanwhile, its block is shared and the copy
        given back. So whoever holds a findable block also holds those before it, and a prefix is
        never evicted before what builds on it.
        """
        if not self._enabled:
            return
        pool = self._pool
        full = request.num_computed_tokens // self._block_size
        keys = self._keys(request, full)
        cached = request.prefix
        for index in range(cached.depth if cached else 0, full):
            own = request.block_ids[index]
            cached = pool.insert(own, keys[index], cached or request.cache_salt)
            if cached.block_id != own:
                pool.share([cached.block_id])
                pool.free([own])
                request.block_ids[index] = cached.block_id
        request.prefix = cached

    def distrust(self, request: Request) -> None:
        """Makes unfindable what a request that failed holds, found or computed.

        If the fault was in there, whoever asked for the same prefix would fail as well.
        """
        block: CachedBlock | str | None = request.prefix
        while isinstance(block, CachedBlock):
            self._pool.forget(block)
            block = block.parent

    def _keys(self, request: Request, count: int) -> list[BlockKey]:
        """The keys of the first `count` full blocks, or more; each is made once a request."""
        keys = request.block_keys
        if len(keys) < count:
            size = self._block_size
            packed = array("q", request.token_ids(len(keys) * size, count * size)).tobytes()
            digest = keys[-1].digest if keys else request.cache_salt.encode()
            width = size * TOKEN_BYTES
            for offset in range(0, len(packed), width):
                tokens = packed[offset : offset + width]
                digest = self._hash(digest, tokens)
                keys.append(BlockKey(digest, tokens))
        return keys

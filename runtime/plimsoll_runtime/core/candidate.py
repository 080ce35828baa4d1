"""Which waiting request is admitted next, if there is room for it."""

from collections.abc import Container
from typing import NamedTuple

from plimsoll_runtime.core.blocks import BlockPool, CachedBlock
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.prefix import PrefixCache
from plimsoll_runtime.core.queue import RankedQueue, WaitingQueue
from plimsoll_runtime.core.request import Request

KEPT = 1 / 16
"""Share of places and blocks that a tenant with its part or more leaves to others."""
FEWEST_PLACES_KEPT, FEW_PLACES = 2, 8
"""So many of so many or more: a light tenant's requests overlap now and then, and with few places
in all one of a flood's becomes free too seldom for the second to wait for it."""

MOST_AHEAD = 2
"""Longest requests, in tokens, that a tenant may have got more than another and still pass in the
last places: a light one never has, while of two that flood one could go on getting more."""


class Candidate(NamedTuple):
    """A waiting request, its blocks that are in the KV cache already, and how many it lacks."""

    request: Request
    found: list[CachedBlock]
    needed: int


def next_candidate(
    waiting: WaitingQueue,
    running: RankedQueue,
    pool: BlockPool,
    prefixes: PrefixCache,
    limits: EngineLimits,
) -> Candidate | None:
    """The waiting request that is to be admitted next; None when there is no room for it.

    It is to get the blocks of all its known tokens at once, so that no prompt is preempted half
    way; those that hold its first tokens already are shared, and count only if they were free.
    One block for each running request stays free: admitting into the last blocks would only
    mean preempting a step later. While several tenants are active, one that has its part
    leaves the last places and blocks to those that have less, so that they need not wait
    until a request of its flood has ended.
    """
    free = pool.num_free - len(running)
    places, blocks = limits.max_num_seqs, pool.num_usable
    if free < 1 or len(running) >= places:
        return None
    last_places = len(running) >= places - _places_kept(places)
    sated: Container[str] | None = None
    for request in waiting.heads():
        found = prefixes.lookup(request)
        needed = -(-request.num_tokens // limits.block_size) - len(found)
        room = free - needed - prefixes.num_revived(found)
        if last_places or room < int(blocks * KEPT):
            if sated is None:
                most_ahead = MOST_AHEAD * limits.max_model_len
                sated = waiting.have_their_part(running, places, blocks, most_ahead)
            if request.tenant in sated:
                continue
        return Candidate(request, found, needed) if room >= 0 else None
    return None


def _places_kept(places: int) -> int:
    return max(int(places * KEPT), FEWEST_PLACES_KEPT if places >= FEW_PLACES else 0)

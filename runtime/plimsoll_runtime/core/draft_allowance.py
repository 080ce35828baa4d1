"""Which requests may have how many drafts in a step, and the blocks that drafts are written to."""

from collections.abc import Mapping

from plimsoll_runtime.core.blocks import BlockPool
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import Request
from plimsoll_runtime.core.speculation import SpeculativeConfig
from plimsoll_runtime.core.step import ScheduledRequest, history_of


class DraftAllowance:
    """Lets drafts have what is left of a step when everybody else has been served.

    So nobody is preempted for them, and nobody is kept out: what they take of blocks is given back
    after the step, but for what was accepted.
    """

    def __init__(self, config: SpeculativeConfig, limits: EngineLimits, pool: BlockPool) -> None:
        self._config = config
        self._block_size = limits.block_size
        self._max_model_len = limits.max_model_len
        self._pool = pool

    def deal(
        self,
        scheduled: list[ScheduledRequest],
        num_decoding: int,
        budget: int,
        requests: Mapping[str, Request],
    ) -> int:
        """Gives the first `num_decoding` items up to equally many drafts; how many in sum.

        `budget` are the tokens that the step has left. A request gets none that it could not
        keep: one token more comes out than drafts go in.
        """
        each = self._config.drafts_each(len(scheduled), num_decoding, budget)
        total = 0
        for position in range(num_decoding if each else 0):
            item = scheduled[position]
            request = requests[item.request_id]
            left = request.num_outputs_left(self._max_model_len)
            count = self._with_blocks(request, min(each, left - 1))
            if count > 0:
                total += count
                scheduled[position] = item._replace(
                    block_ids=request.block_ids.copy(),
                    history=history_of(request),
                    max_drafts=count,
                )
        return total

    def settle(self, request: Request) -> None:
        """Takes back the blocks that no known token of the request needs."""
        needed = -(-request.num_tokens // self._block_size)
        self._pool.free(request.block_ids[needed:])
        del request.block_ids[needed:]

    def _with_blocks(self, request: Request, count: int) -> int:
        """As many drafts, up to `count`, as free blocks allow; takes these."""
        size = self._block_size
        missing = -(-(request.num_tokens + count) // size) - len(request.block_ids)
        if missing > 0:
            request.block_ids += self._pool.allocate(min(missing, self._pool.num_free))
        return min(count, len(request.block_ids) * size - request.num_tokens)

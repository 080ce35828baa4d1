"""Prompt lookup: guesses that a text goes on as it did when its last tokens came up before.

For texts that repeat themselves or their prompt, as summaries, edits and JSON do. After vLLM's and
Hugging Face's `prompt_lookup`, but the latest occurrence counts, and finding it takes no scan.
"""

from plimsoll_runtime.core.speculation import SpeculativeConfig
from plimsoll_runtime.core.step import ScheduledRequest, SchedulerOutput, TokenHistory
from plimsoll_runtime.engine.confidence import Confidence
from plimsoll_runtime.engine.history import Followers

MAX_INDEXED = 8192
"""Tokens that are indexed in one step: some milliseconds. The rest of a prompt comes later."""


class NgramIndex:
    """Where each n-gram of one request came up last, for n from `shortest` to `longest`.

    Indexing is O(1) a token, and so is finding what followed the last tokens.
    """

    def __init__(self, prompt_token_ids: list[int], shortest: int, longest: int) -> None:
        self.num_taken = 0
        self.confidence = Confidence()
        self._tokens = prompt_token_ids.copy()
        self._lengths = range(longest, shortest - 1, -1)
        self._next: dict[tuple[int, ...], int] = {}
        self._num_indexed = 0

    def take(self, token_ids: list[int]) -> None:
        """Adds output tokens; `index` makes them findable."""
        self.confidence.came(token_ids)
        self._tokens += token_ids
        self.num_taken += len(token_ids)

    def index(self, most: int) -> int:
        """Makes up to `most` tokens more findable; returns how many."""
        tokens, places = self._tokens, self._next
        begin = self._num_indexed
        # An n-gram is there from the token after it on: the last one must not find itself.
        stop = min(begin + most, len(tokens) - 1)
        for end in range(begin + 1, stop + 1):
            for length in self._lengths:
                if length <= end:
                    places[tuple(tokens[end - length : end])] = end
        self._num_indexed = max(begin, stop)
        return self._num_indexed - begin

    def guess(self, count: int) -> list[int]:
        """`count` tokens that may come next, none where the last ones are new.

        Those after the latest occurrence of the longest n-gram that ends the text. Where that
        leads beyond the text's end it goes on with the guesses themselves, round and round.
        """
        tokens = self._tokens
        for length in self._lengths:
            if length < len(tokens):
                place = self._next.get(tuple(tokens[-length:]))
                if place is not None:
                    found = tokens[place : place + count]
                    while len(found) < count:
                        found += found[: count - len(found)]
                    return found
        return []


class NgramProposer:
    """Guesses for every request from its own tokens; see `Proposer`."""

    def __init__(self, config: SpeculativeConfig) -> None:
        self._shortest = config.prompt_lookup_min
        self._longest = config.prompt_lookup_max
        self._indexes: Followers[NgramIndex] = Followers()

    def propose(self, output: SchedulerOutput) -> dict[str, list[int]]:
        """See `Proposer`."""
        left = MAX_INDEXED
        drafts: dict[str, list[int]] = {}
        for item in output.scheduled:
            if item.max_drafts:
                index = self._indexes.follow(item, self._index_of)
                left -= index.index(left)
                count = index.confidence.allowed(item.max_drafts)
                drafts[item.request_id] = index.guess(count) if count else []
                index.confidence.guessed(drafts[item.request_id])
        self._indexes.keep(item.request_id for item in output.scheduled if _goes_on(item))
        return drafts

    def _index_of(self, history: TokenHistory) -> NgramIndex:
        return NgramIndex(history.prompt_token_ids, self._shortest, self._longest)


def _goes_on(item: ScheduledRequest) -> bool:
    """Not before its first token: there an index under its id would be of another request."""
    return item.samples and item.output_index > 0

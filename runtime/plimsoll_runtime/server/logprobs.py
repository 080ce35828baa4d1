"""Log-probabilities in the shapes of both APIs."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

from plimsoll_runtime.core.request import TokenLogprobs
from plimsoll_runtime.server.token_text import TokenText

Json = dict[str, Any]

LOWEST = -9999.0
"""JSON has no infinity; vLLM says this for what is beyond floats."""


class Scored(NamedTuple):
    """A token of an answer or of an echoed prompt, and where in the text it begins, in characters.

    `logprobs` is None for a prompt's first token.
    """

    token_id: int
    logprobs: TokenLogprobs | None
    offset: int


class LogprobsFormat:
    """Writes logprobs; with `as_ids` tokens are shown as `token_id:17`, which no two share."""

    def __init__(self, tokens: TokenText, as_ids: bool = False) -> None:
        self._bytes = tokens.bytes_of
        self._text: Callable[[int], str] = tokens.text_of
        if as_ids:
            self._text = "token_id:{}".format

    def completion(self, scored: Iterable[Scored], num_top: int) -> Json:
        """The `logprobs` of a completion's choice: four lists, an entry for each token.

        `top_logprobs` has the chosen token too where it is not among the likeliest.
        """
        scored = list(scored)
        entries = [each.logprobs for each in scored]
        return {
            "tokens": [self._text(each.token_id) for each in scored],
            "token_logprobs": [None if e is None else _finite(e.logprob) for e in entries],
            "top_logprobs": [None if e is None else self._top(e, num_top) for e in entries],
            "text_offset": [each.offset for each in scored],
        }

    def chat(self, entries: Sequence[TokenLogprobs]) -> Json:
        """The `logprobs` of a chat completion's choice."""
        content = [
            self._token(each.token_id, each.logprob)
            | {"top_logprobs": [self._token(*pair) for pair in each.top]}
            for each in entries
        ]
        return {"content": content, "refusal": None}

    def prompt(self, entries: Sequence[TokenLogprobs], num_top: int) -> list[Json | None]:
        """vLLM's `prompt_logprobs`: for each token of the prompt what was likely there, by id."""
        return [None, *(self._ranked(each, num_top) for each in entries)]

    def _top(self, entry: TokenLogprobs, num_top: int) -> dict[str, float]:
        result: dict[str, float] = {}
        for token_id, logprob in chain(entry.top[:num_top], [(entry.token_id, entry.logprob)]):
            # The likelier comes first, should two tokens look the same.
            result.setdefault(self._text(token_id), _finite(logprob))
        return result

    def _token(self, token_id: int, logprob: float) -> Json:
        return {
            "token": self._text(token_id),
            "logprob": _finite(logprob),
            "bytes": list(self._bytes(token_id)),
        }

    def _ranked(self, entry: TokenLogprobs, num_top: int) -> Json:
        pairs = {
            token_id: (logprob, rank)
            for rank, (token_id, logprob) in enumerate(entry.top[:num_top], start=1)
        }
        pairs.setdefault(entry.token_id, (entry.logprob, entry.rank))
        return {
            str(token_id): {
                "logprob": _finite(logprob),
                "rank": rank,
                "decoded_token": self._text(token_id),
            }
            for token_id, (logprob, rank) in pairs.items()
        }


def _finite(logprob: float) -> float:
    return max(logprob, LOWEST)

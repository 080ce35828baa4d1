"""One choice of an answer: tokens in, text out. Pure but for the tokenizer."""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from plimsoll_runtime.core.request import FinishReason, TokenLogprobs
from plimsoll_runtime.server.detokenizer import IncrementalDetokenizer
from plimsoll_runtime.server.stop_strings import StopMatcher
from plimsoll_runtime.server.tokenizer import Tokenizer


class Delta(NamedTuple):
    """What a choice gained, by its index. `finish_reason` is set on its last one.

    `stop_reason` is the stop string or the id from `stop_token_ids` that ended it, as in vLLM.
    `offsets` say for each token how many characters of the answer come before it. `logprobs` have
    an entry for each token where they were asked for; `prompt_logprobs` come with the first delta.
    """

    choice: int
    text: str
    token_ids: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    offsets: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprobs, ...] | None = None
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()


@dataclass(frozen=True)
class TextOptions:
    """How token ids become the text that the client asked for."""

    stop: tuple[str, ...] = ()
    include_stop: bool = False
    skip_special_tokens: bool = True
    min_tokens: int = 0
    stop_token_ids: frozenset[int] = frozenset()


class Sequence:
    """Detokenizes one sequence and ends it at a stop string, token by token.

    Whatever the tokens' grouping, the text and the tokens up to the end are the same, so an
    answer that is streamed equals one that is not.
    """

    def __init__(
        self,
        index: int,
        tokenizer: Tokenizer,
        options: TextOptions,
        prompt_token_ids: Items[int] = (),
    ) -> None:
        self.index = index
        self.num_tokens = 0
        self._num_characters = 0
        self.finish_reason: FinishReason | None = None
        self._options = options
        self._matcher = StopMatcher(options.stop, options.include_stop)
        skip = options.skip_special_tokens
        self._detokenizer = IncrementalDetokenizer(
            partial(tokenizer.decode, skip_special_tokens=skip),
            partial(tokenizer.has_text, skip_special_tokens=skip),
            prompt_token_ids,
        )

    def push(
        self,
        token_ids: Items[int],
        finish_reason: FinishReason | None = None,
        logprobs: tuple[TokenLogprobs, ...] | None = None,
    ) -> Delta:
        """Takes new tokens, and why the sequence ended when these are the last.

        With reason `stop` the last token is the one that stopped it: it counts, but has no text.
        `logprobs` are those of the tokens.
        """
        pieces: list[str] = []
        taken: list[int] = []
        offsets: list[int] = []
        matched: str | None = None
        for position, token_id in enumerate(token_ids):
            taken.append(token_id)
            offsets.append(self._num_characters)
            self.num_tokens += 1
            if finish_reason is FinishReason.STOP and position == len(token_ids) - 1:
                break
            matched = self._feed(self._detokenizer.push(token_id), pieces)
            if matched is not None:
                break
        if matched is None and finish_reason is not None:
            matched = self._feed(self._detokenizer.flush(), pieces)
            if matched is None:
                pieces.append(self._matcher.flush())
        stop_reason: str | int | None = matched
        if matched is not None:
            finish_reason = FinishReason.STOP
        elif finish_reason is FinishReason.STOP and taken:
            stop_reason = taken[-1] if taken[-1] in self._options.stop_token_ids else None
        if finish_reason is not None:
            self.finish_reason = finish_reason
        return Delta(
            self.index,
            "".join(pieces),
            tuple(taken),
            finish_reason,
            stop_reason,
            tuple(offsets),
            None if logprobs is None else logprobs[: len(taken)],
        )

    def _feed(self, text: str, pieces: list[str]) -> str | None:
        self._num_characters += len(text)
        if not self._options.stop or self.num_tokens <= self._options.min_tokens:
            pieces.append(text)
            return None
        result = self._matcher.push(text)
        pieces.append(result.text)
        return result.matched

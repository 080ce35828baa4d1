"""Speculative decoding: tokens that are guessed ahead of the model, and checked by it in one step.

What guesses, and what checks, is where the model is; here is how much of it a step may do.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from plimsoll_runtime.core.request import TokenLogprobs

MAX_SPECULATIVE_TOKENS = 32
MAX_LOOKUP = 64


class SpeculativeMethod(StrEnum):
    """Who guesses, in vLLM's words."""

    NGRAM = "ngram"
    DRAFT_MODEL = "draft_model"


@dataclass(frozen=True)
class SpeculativeConfig:
    """Fields with vLLM's names.

    At most `num_speculative_tokens` drafts follow a request's last token in a step. With `NGRAM`
    they are what followed the last `prompt_lookup_max` tokens when these came up before, or fewer
    of them, down to `prompt_lookup_min`; with `DRAFT_MODEL` what the model in the folder `model`
    would say, which has a `revision` until it is fetched from the Hub. A step with more than
    `disable_by_batch_size` sequences has none: it keeps the hardware busy as it is.

    Raises ValueError when the fields contradict each other.
    """

    method: SpeculativeMethod
    num_speculative_tokens: int
    prompt_lookup_max: int = 4
    prompt_lookup_min: int = 2
    model: str | None = None
    disable_by_batch_size: int | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        self._check_range("num_speculative_tokens", MAX_SPECULATIVE_TOKENS)
        self._check_range("prompt_lookup_max", MAX_LOOKUP)
        self._check_range("prompt_lookup_min", MAX_LOOKUP)
        if self.prompt_lookup_min > self.prompt_lookup_max:
            raise ValueError(
                f"prompt_lookup_min {self.prompt_lookup_min} is more than "
                f"prompt_lookup_max {self.prompt_lookup_max}"
            )
        if self.disable_by_batch_size is not None and self.disable_by_batch_size < 1:
            raise ValueError(
                f"disable_by_batch_size must be at least 1, not {self.disable_by_batch_size}"
            )
        if (self.method is SpeculativeMethod.DRAFT_MODEL) != (self.model is not None):
            raise ValueError(
                "method draft_model needs a model to draft with"
                if self.model is None
                else f"method ngram takes no model, but model is {self.model!r}"
            )

        if self.revision is not None and self.model is None:
            raise ValueError(f"method ngram has no model, but revision is {self.revision!r}")

    def drafts_each(self, num_seqs: int, num_decoding: int, budget: int) -> int:
        """How many drafts each of a step's `num_decoding` requests may have, of `num_seqs` in all,
        when the step has `budget` tokens to spare."""
        if not num_decoding or num_seqs > (self.disable_by_batch_size or num_seqs):
            return 0
        return min(self.num_speculative_tokens, budget // num_decoding)

    def _check_range(self, name: str, most: int) -> None:
        value = getattr(self, name)
        if not 1 <= value <= most:
            raise ValueError(f"{name} must be 1 to {most}, not {value}")


class AcceptedDrafts(NamedTuple):
    """Drafts of a request that the model chose as well, before the token that it chose last.

    `logprobs` has an entry for each where they are wanted.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...] = ()

"""Training rows: windows of prose and packed conversations, as token arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from plimsoll_runtime.builtin.train.architecture import BOS, EOS
from plimsoll_runtime.builtin.train.dialogue import Dialogues
from plimsoll_runtime.builtin.train.sources import Document
from plimsoll_runtime.builtin.train.vocabulary import encode_chat, encode_text

IGNORE = -100
Tokens = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """`inputs` and `labels`, both [rows, window]; `labels` holds the token that follows.

    A label of `IGNORE` is not learned.
    """

    inputs: Tokens
    labels: Tokens


def prose_stream(tokenizer: Tokenizer, documents: Sequence[Document]) -> Tokens:
    """Return all documents as one row of tokens [n], an end token after each."""
    parts = [np.array([*encode_text(tokenizer, d.text), EOS], np.int64) for d in documents]
    return np.concatenate(parts)


class Sampler:
    """Draws batches: a share of conversation rows, the rest windows of prose."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        prose: Tokens,
        dialogues: Dialogues,
        chat_share: float,
        seed: int,
    ) -> None:
        self._tokenizer = tokenizer
        self._prose = prose
        self._dialogues = dialogues
        self._chat_share = chat_share
        self._rng = np.random.default_rng(seed)

    def batch(self, rows: int, window: int) -> Batch:
        """Return the next `rows` rows of `window` tokens."""
        chats = round(rows * self._chat_share)
        made = [self._chat_row(window) for _ in range(chats)]
        made += [self._prose_row(window) for _ in range(rows - chats)]
        inputs, labels = zip(*made, strict=True)
        return Batch(np.stack(inputs), np.stack(labels))

    def _prose_row(self, window: int) -> tuple[Tokens, Tokens]:
        start = self._rng.integers(len(self._prose) - window - 1)
        tokens = self._prose[start : start + window + 1].copy()
        tokens[0] = BOS  # as at inference, where every sequence starts so
        return tokens[:-1], tokens[1:]

    def _chat_row(self, window: int) -> tuple[Tokens, Tokens]:
        ids: list[int] = []
        learned: list[bool] = []
        while len(ids) <= window:
            more_ids, more_learned = encode_chat(self._tokenizer, self._dialogues.draw(self._rng))
            ids += more_ids
            learned += more_learned
        tokens = np.array(ids[: window + 1], np.int64)
        labels = np.where(np.array(learned[: window + 1]), tokens, IGNORE)
        return tokens[:-1], labels[1:]

"""Random steps through a runner with graphs and one without: everything must be the same."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from plimsoll_runtime.attention.metadata import SequenceSpan
from plimsoll_runtime.engine.rank_channel import Step
from plimsoll_runtime.engine.runner import ModelRunner


@dataclass
class Sequence:
    """Tokens so far, all computed but the last one, and the blocks that hold them."""

    tokens: list[int]
    block_ids: list[int] = field(default_factory=list)

    def span(self, start: int) -> SequenceSpan:
        return SequenceSpan(start, len(self.tokens) - start, list(self.block_ids))


class Traffic:
    """Sequences over both runners' caches, which hold the same."""

    def __init__(self, plain: ModelRunner, graphed: ModelRunner, seed: int) -> None:
        self.rng = random.Random(seed)
        self.plain, self.graphed = plain, graphed
        self.free = list(range(plain.cache.num_blocks))
        self.rng.shuffle(self.free)
        self.sequences: list[Sequence] = []

    def prompt(self, length: int) -> None:
        """A new sequence, its prompt computed."""
        vocab = self.plain.model.config.vocab_size
        sequence = Sequence([self.rng.randrange(vocab) for _ in range(length)])
        self.sequences.append(sequence)
        self._compute([sequence], [0])

    def decode(self, count: int, close: Callable[[torch.Tensor, torch.Tensor], None]) -> None:
        """One more token for `count` of the sequences, in any order."""
        chosen = self.rng.sample(self.sequences, count)
        vocab = self.plain.model.config.vocab_size
        for sequence in chosen:
            sequence.tokens.append(self.rng.randrange(vocab))
        expected, found = self._compute(chosen, [len(each.tokens) - 1 for each in chosen])
        close(found, expected)
        real = slice(0, self.plain.cache.num_blocks)
        close(self.graphed.cache.pages[:, :, real], self.plain.cache.pages[:, :, real])

    def _compute(
        self, sequences: list[Sequence], starts: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        for sequence in sequences:
            while len(sequence.block_ids) * self.plain.cache.block_size < len(sequence.tokens):
                sequence.block_ids.append(self.free.pop())
        step = Step(
            [
                token
                for each, start in zip(sequences, starts, strict=True)
                for token in each.tokens[start:]
            ],
            [each.span(start) for each, start in zip(sequences, starts, strict=True)],
            list(range(len(sequences))),
            [],
        )
        with torch.inference_mode():
            return self.plain.forward(step)[1], self.graphed.forward(step)[1]


class Again:
    """A recorder for a CPU: calls the function again, over the same memory.

    `taken` bytes for every record.
    """

    def __init__(self, taken: int = 0) -> None:
        self.count = self.replays = 0
        self._taken = taken

    def record(self, compute: Callable[[], None]) -> Callable[[], None]:
        compute()
        self.count += 1

        def replay() -> None:
            self.replays += 1
            compute()

        return replay

    def memory_taken(self) -> int:
        return self.count * self._taken

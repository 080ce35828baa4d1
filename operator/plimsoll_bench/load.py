"""What is sent: requests, when each is due, and how many may run at once."""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from plimsoll_bench.token_ids import TokenRange, token_ids


class Arrivals(StrEnum):
    """What decides when a request is sent."""

    AT_ONCE = "at-once"
    POISSON = "poisson"
    TRACE = "trace"
    CLOSED = "closed"


class Piece(NamedTuple):
    """A part of a prompt: `tokens` ids that follow from `seed`. Equal pieces are equal tokens."""

    seed: int
    tokens: int


class Request(NamedTuple):
    """One request, due `at` seconds from the beginning; `output_tokens` are asked of the server."""

    at: float
    prompt: tuple[Piece, ...]
    output_tokens: int

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return sum(piece.tokens for piece in self.prompt)

    def token_ids(self, within: TokenRange) -> list[int]:
        """The prompt."""
        return [each for piece in self.prompt for each in token_ids(*piece, within)]


@dataclass(frozen=True)
class Load:
    """Requests in the order of their times.

    With `concurrency` (a closed loop) a request is due when one of so many places is free, whatever
    its time. `rate` is in requests per second, where one was asked for.
    """

    name: str
    requests: tuple[Request, ...]
    arrivals: Arrivals = Arrivals.AT_ONCE
    concurrency: int | None = None
    rate: float | None = None

    @property
    def spec(self) -> str:
        """A digest of lengths, times and shared pieces: equal for repetitions of one workload,
        whose tokens differ."""
        numbers: dict[int, int] = {}
        rows = [
            [
                round(each.at, 4),
                each.output_tokens,
                [[numbers.setdefault(p.seed, len(numbers)), p.tokens] for p in each.prompt],
            ]
            for each in self.requests
        ]
        content = json.dumps([self.arrivals, self.concurrency, rows], separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

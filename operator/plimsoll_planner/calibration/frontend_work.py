"""What the process in front of an engine did, as it counts that itself."""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

MOST_CORES = 256
"""Of a process at a time: a clock that says more is none."""


class Work(NamedTuple):
    """What a process did in a stretch of time: requests taken in, tokens of their prompts, messages
    of the engine (one a step), events of answers, tokens in these, seconds that it lasted, and CPU
    seconds."""

    requests: int
    prompt_tokens: int
    messages: int
    events: int
    tokens: int
    seconds: float
    cpu_seconds: float

    @property
    def counts(self) -> tuple[float, ...]:
        """What the CPU seconds are in proportion to, in the order of `WorkTime`."""
        return self[:-1]

    @property
    def is_busy(self) -> bool:
        """Whether anything was asked or answered."""
        return bool(self.requests or self.tokens)


class Look(NamedTuple):
    """The same counters since the process' start, as of `at`, in seconds of its own clock."""

    at: float
    cpu_seconds: float
    requests: int
    prompt_tokens: int
    messages: int
    events: int
    tokens: int


def stretches(looks: Iterable[Look]) -> list[Work]:
    """From each of the looks at one process to the next, in order of time; what cannot be, as where
    the process began anew, is left out."""
    found = []
    for before, after in pairwise(sorted(set(looks))):
        counts = [now - then for now, then in zip(after[2:], before[2:], strict=True)]
        seconds, cpu = after.at - before.at, after.cpu_seconds - before.cpu_seconds
        if min(counts) >= 0 and seconds > 0 and 0 < cpu <= MOST_CORES * seconds:
            found.append(Work._make((*counts, seconds, cpu)))
    return found

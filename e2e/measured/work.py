"""What the server's process and its client do for a stretch of traffic.

In this harness the two share a core, which is the frontend that is simulated: one for all that
passes between who waits for tokens and the engine.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from plimsoll_planner.calibration import frontend_work


class Work(NamedTuple):
    """Requests, tokens of their prompts, steps that the engine took, events of the answers, tokens
    in these, seconds that it lasted, and CPU seconds of the server's process and of the client."""

    requests: int
    prompt_tokens: int
    steps: int
    events: int
    tokens: int
    seconds: float
    server: float
    client: float

    @property
    def of_both(self) -> frontend_work.Work:
        """As of one process."""
        return frontend_work.Work(*self[:6], cpu_seconds=self.server + self.client)


def work_of(plain: Iterable[Sequence[float]]) -> tuple[Work, ...]:
    """From lists of numbers."""
    return tuple(Work(*map(int, each[:5]), *each[5:]) for each in plain)

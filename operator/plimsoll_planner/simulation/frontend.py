"""The process in front of an engine in simulated time: one core, first come, first served.

Requests wait there before the scheduler knows of them, and tokens before a client sees them. What
has not been begun with when more comes for the same clients is written to them together, as our
server does: so a frontend that falls behind has less to do for each token.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from plimsoll_planner.performance.frontend_time import FrontendTime


class Delivered(NamedTuple):
    """When clients see the tokens of a step: those of sequences that are new to it, which come last
    in its message, and those of others, in the middle."""

    others: float
    new: float


@dataclass
class Frontend:
    """`take_in` and `deliver` are called in the order of their times."""

    seconds: FrontendTime
    _free: float = field(init=False, default=0.0)
    _begin: float = field(init=False, default=0.0)
    _clients: int = field(init=False, default=0)
    _delivered: float = field(init=False, default=0.0)

    def take_in(self, at: float, prompt_tokens: int) -> float:
        """A request that comes `at`: when the engine has it."""
        work = self.seconds.request + self.seconds.prompt_token * prompt_tokens
        self._free = max(at, self._free) + work
        return self._free

    def keeps_up(self, at: float, seconds: float, tokens: int) -> bool:
        """Whether it has nothing left to do `at` the end of a step, and is done with so many tokens
        within as many `seconds` as this step took: then only the last of equal steps, or of ever
        longer ones, says what it has to do after them."""
        each = self.seconds.message + (self.seconds.event + self.seconds.token) * tokens
        return self._free <= at and each <= seconds * (1 - 1e-9)

    def deliver(self, at: float, tokens: int, ended: int) -> Delivered:
        """What a step put out that ended `at`: a token each of so many sequences, the last one of
        `ended`."""
        known = 0
        if at < self._begin:
            known = self._clients
            self._clients = max(tokens, known)
        else:
            self._begin, self._clients = max(at, self._free), tokens
        time = self.seconds
        sending = time.event * max(0, tokens - known) + time.token * tokens
        new = max(at, self._free) + time.message + sending
        others = max(self._delivered, new - sending / 2)
        self._delivered = new
        self._free = new + time.end * ended
        return Delivered(others + time.latency, new + time.latency)

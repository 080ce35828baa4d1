"""What this process did and how much CPU time that took: for calibration of what is in front of an
engine in another process."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

MAX_LOOKS = 256
"""The latest looks that are remembered."""
LOOK_SECONDS = 1.0


class Look(NamedTuple):
    """Counters since the start, as of `at`, in seconds of the monotonic clock.

    `cpu_seconds` are those of this process, all its threads and no child. `num_requests` were taken
    in, with `num_prompt_tokens`; the engine made `num_steps`; `num_events` of answers had
    `num_tokens`.
    """

    at: float
    cpu_seconds: float
    num_requests: int
    num_prompt_tokens: int
    num_steps: int
    num_events: int
    num_tokens: int


class FrontendWork:
    """Counts, and looks at the counters now and then. For the event loop's thread."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock, self._cpu_clock = clock, cpu_clock
        self._requests = self._prompt_tokens = self._events = self._tokens = 0
        self._looks: deque[Look] = deque(maxlen=MAX_LOOKS)

    @property
    def looks(self) -> tuple[Look, ...]:
        """The latest, oldest first."""
        return tuple(self._looks)

    def taken_in(self, prompt_tokens: int) -> None:
        """The engine was sent a request."""
        self._requests += 1
        self._prompt_tokens += prompt_tokens

    def delivered(self, tokens: int) -> None:
        """An answer went on by so many tokens."""
        self._events += 1
        self._tokens += tokens

    def look(self, num_steps: int) -> None:
        """Remembers the counters as they are. Of looks between which nothing was done only the
        first and the last stay, so that an idle server forgets nothing."""
        now = Look(
            self._clock(),
            self._cpu_clock(),
            self._requests,
            self._prompt_tokens,
            num_steps,
            self._events,
            self._tokens,
        )
        looks = self._looks
        if len(looks) > 1 and looks[-2][2:] == looks[-1][2:] == now[2:]:
            looks.pop()
        looks.append(now)

    async def keep(self, num_steps: Callable[[], int]) -> None:
        """Looks every LOOK_SECONDS until cancelled."""
        while True:
            self.look(num_steps())
            await asyncio.sleep(LOOK_SECONDS)

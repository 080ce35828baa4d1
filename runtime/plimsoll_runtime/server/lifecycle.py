"""Whether the server is up, drained or ending, and how many requests are under way."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Lifecycle:
    """Belongs to the event loop's thread. `ending` is never taken back.

    `deadline` is when running requests are ended, in seconds of the monotonic clock; None until
    that is known. A drain without an end is a lease: whoever asked for it may be gone, and then the
    server is ready again when its time is over.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.ending = False
        self.deadline: float | None = None
        self.active = 0
        self._clock = clock
        self._drain: tuple[float, float] | None = None

    @property
    def draining(self) -> bool:
        """Whether clients should go elsewhere. What arrives all the same is served."""
        return self.ending or self.drained_seconds is not None

    @property
    def drained_seconds(self) -> float | None:
        """How long ago somebody asked for a drain; None where nobody did, or its time is over."""
        now = self._clock()
        if self._drain is None or now >= self._drain[1]:
            return None
        return now - self._drain[0]

    def drain(self, seconds: float) -> None:
        """Not ready for so long from now, unless taken back; asked again, that is put off."""
        since, now = self.drained_seconds, self._clock()
        self._drain = (now - (since or 0.0), now + seconds)

    def take_back(self) -> None:
        """Ends a drain; not that of the end."""
        self._drain = None

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts a request from its head to the last byte of its answer."""
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

"""Whether the server is up, draining or ending, and how many requests are under way."""

from collections.abc import Iterator
from contextlib import contextmanager


class Lifecycle:
    """Belongs to the event loop's thread. `draining` is never taken back.

    `deadline` is when running requests are ended, in seconds of the monotonic clock; None until
    that is known.
    """

    def __init__(self) -> None:
        self.draining = False
        self.deadline: float | None = None
        self.active = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts a request from its head to the last byte of its answer."""
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

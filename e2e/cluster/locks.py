"""Locks that keep commands of the harness from working on the same thing at once."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from e2e.cluster.progress import say
from e2e.cluster.settings import Settings


@contextmanager
def only_one(settings: Settings, what: str) -> Iterator[None]:
    """Hold the machine-wide lock `what`, and wait for it while another command has it."""
    folder = settings.cache / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / what).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another command that works on {what}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield

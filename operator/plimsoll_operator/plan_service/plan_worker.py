"""The process that plans: answers one question at a time.

As `python -m plimsoll_operator.plan_service.plan_worker NUMBER`, of the file descriptor that
questions come by, it imports the planner and nothing else of the operator, and ends with whoever
asks.
"""

import os
import resource
import select
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from plimsoll_planner.planner import plan

MEMORY_BYTES = 2 << 30
"""Address space of the process: a search that needs more has gone astray."""


def serve(connection: "Connection[Any, Any]", answer: Callable[..., object] = plan) -> None:
    """Answers until the other end is closed: a result and the seconds that it took, or what was
    raised."""
    while True:
        try:
            question = connection.recv()
        except EOFError:
            return
        began = perf_counter()
        try:
            result: object = (answer(*question), perf_counter() - began)
        except Exception as error:  # which whoever asked raises
            result = error
        connection.send(result)


def _end_with_parent(descriptor: int) -> None:
    """Ends the process once the other end is closed, in the midst of a search too."""
    poll = select.poll()
    poll.register(descriptor, 0)  # only for the end, which is always told
    poll.poll()
    os._exit(1)


def main(descriptor: int) -> None:
    """Bounds this process and serves on a connected socket."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.nice(5)  # the operator itself goes first
    threading.Thread(target=_end_with_parent, args=(descriptor,), daemon=True).start()
    serve(Connection(descriptor))


if __name__ == "__main__":
    main(int(sys.argv[1]))

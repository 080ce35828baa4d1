"""One end of the socket between server and engine."""

import socket
import tracemalloc

from plimsoll_runtime.engine.channel import READ_BYTES, Channel
from plimsoll_runtime.engine.messages import Abort, decode_to_engine


def test_a_read_makes_no_room_of_its_own() -> None:
    """Room of READ_BYTES for each small message left holes in the heap, and the process grew."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sending, receiving = Channel(ours), Channel(theirs)
        sending.send(Abort("first"))
        receiving.receive()
        sending.send(Abort("second"))
        tracemalloc.start()
        try:
            payload = receiving.receive()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert payload is not None
        assert decode_to_engine(payload) == Abort("second")
        assert peak < READ_BYTES / 10

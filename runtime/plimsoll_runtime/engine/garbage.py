"""Memory of what is gone: given back, and looked for only among what may go."""

import ctypes
import gc
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of mallopt(3), by malloc.h."""
_LARGE_BYTES = 8 << 20
_SPARE_BYTES = 64 << 20


def defer() -> None:
    """No collections until `settle`: nearly all that is imported stays, looked at in vain."""
    gc.disable()


def settle() -> None:
    """Takes all that lives now out of later collections. Call it once a process has started.

    What was imported and loaded are hundreds of thousands of objects. With them a full collection
    takes a tenth of a second, in which no token goes out, and comes only once the garbage is a
    quarter as much; without them it is quick, and memory stays flat.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


def trim() -> None:
    """Gives the system back what was freed. In vain with other C libraries than glibc."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def share_one_heap() -> None:
    """One heap for all threads, and none of it for large pieces, which the system has back as soon
    as they are gone. Call it before there are threads. In vain with other C libraries than glibc.

    By default each thread has heaps of its own, and a piece of up to 32 MiB lies between others in
    one of them: what steps of ever other sizes leave there cannot be given back.
    """
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, _SPARE_BYTES)

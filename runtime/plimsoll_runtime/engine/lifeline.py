"""Processes that end with the one that started them, whatever that one dies of."""

import ctypes
import select
import signal
import socket

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Has the kernel kill this process when the thread that started it ends.

    The kernel does it even while this process is stuck in a step. A parent that is gone already
    goes unnoticed: look at `peer_gone` after this.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def peer_gone(sock: socket.socket) -> bool:
    """Whether the process at the other end of a connected Unix socket has closed it or ended."""
    poll = select.poll()
    poll.register(sock, 0)  # POLLHUP is always told
    return bool(poll.poll(0))


def ignore_terminal_signals() -> None:
    """Leaves SIGTERM and SIGINT to the server, which drains first and then says stop.

    A terminal or a service manager sends them to every process of a group.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

"""Who is gone is seen on the socket; that the kernel ends the engine is tested with processes."""

import socket

from plimsoll_runtime.engine.lifeline import peer_gone


def test_a_peer_is_gone_when_it_has_closed_and_not_before() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not peer_gone(ours)
        theirs.sendall(b"unread")
        assert not peer_gone(ours)
        theirs.close()
        assert peer_gone(ours)

"""The ports that the server listens on."""

import socket
from typing import NamedTuple

from plimsoll_runtime.server.certificate import Certificate

MAX_PORT = 65535


class Listeners(NamedTuple):
    """The port of the API, with its certificate where it speaks TLS, and the admin port if any."""

    api: socket.socket
    admin: socket.socket | None = None
    certificate: Certificate | None = None


def listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """Takes the port, before the model is loaded; connections are refused until it serves.

    Raises ValueError, naming `option`, where it cannot be had.
    """
    listener: socket.socket | None = None
    if not 0 <= port <= MAX_PORT:
        raise ValueError(f"{option} must be 0 to {MAX_PORT}, not {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        reason = error.strerror or str(error)
        raise ValueError(f"cannot listen on {host}:{port}: {reason}") from error
    return listener


def url(listener: socket.socket, scheme: str = "http") -> str:
    """Where clients on this machine reach it."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

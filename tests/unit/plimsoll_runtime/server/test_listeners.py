import socket

import pytest

from plimsoll_runtime.server.listeners import listen, url


def test_a_port_that_is_taken_still_refuses_connections() -> None:
    with listen("127.0.0.1", 0) as listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.getsockname(), timeout=1)


def test_the_address_that_clients_use() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert url(listener) == f"http://127.0.0.1:{port}"
        assert url(listener, "https") == f"https://127.0.0.1:{port}"


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    try:
        listener = listen("::1", 0)
    except ValueError:
        pytest.skip("no IPv6 on this machine")
    with listener:
        assert url(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_the_message_names_the_option() -> None:
    with pytest.raises(ValueError, match="--admin-port must be 0 to 65535, not 70000"):
        listen("127.0.0.1", 70000, "--admin-port")

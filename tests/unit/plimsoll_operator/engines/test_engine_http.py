"""Clients of engines trust nobody, and so read no roots of trust."""

import ssl
from typing import Any

import pytest

from plimsoll_operator.engines.engine_http import http_client


async def test_no_roots_of_trust_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any, **__: Any) -> None:
        raise AssertionError("roots of trust were read")

    for way in ("load_verify_locations", "load_default_certs"):
        monkeypatch.setattr(ssl.SSLContext, way, read)
    client = http_client(1.0)
    context = client._transport._pool._ssl_context  # type: ignore[attr-defined]
    await client.aclose()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.get_ca_certs() == []

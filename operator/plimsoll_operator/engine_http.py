"""What clients of engines share: requests by pod address, and answers of a bounded size."""

import ssl

import httpx


def http_client(timeout: float) -> httpx.AsyncClient:
    """One that goes to pods and nowhere else: past no proxy, and wherever no answer sends it.

    It speaks plain HTTP, so it trusts no certificate: to read the roots of trust, which httpx else
    does for every client, took half of what an operator's start computes.
    """
    return httpx.AsyncClient(
        timeout=timeout,
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        trust_env=False,
        follow_redirects=False,
    )


def url_of(address: str, port: int, path: str) -> str:
    """The URL on a pod; `address` may be of IPv6."""
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}{path}"


async def bounded_text(response: httpx.Response, most: int) -> str | None:
    """The body of a streamed response; None where it has more than `most` bytes."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > most:
            return None
    return body.decode("utf-8", errors="replace")

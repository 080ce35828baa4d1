"""What clients of engines share: requests by pod address, and answers of a bounded size."""

import ssl

import httpx


def http_client(timeout: float, *, any_certificate: bool = False) -> httpx.AsyncClient:
    """One that goes to pods and nowhere else: past no proxy, and wherever no answer sends it.

    It trusts no certificate: to read the roots of trust, which httpx else does for every client,
    took half of what an operator's start computes. With `any_certificate` it takes every one, as
    the kubelet's probes do: the operator reads no Secret, so it knows no authority of engines, and
    calls them by address. That is for what may be read by everybody, and nothing secret is sent.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if any_certificate:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return httpx.AsyncClient(
        timeout=timeout,
        verify=context,
        trust_env=False,
        follow_redirects=False,
    )


def url_of(address: str, port: int, path: str) -> str:
    """The URL on a pod; `address` may be of IPv6, and begin with `https://` where it speaks TLS."""
    scheme, _, host = address.rpartition("://")
    host = f"[{host}]" if ":" in host else host
    return f"{scheme or 'http'}://{host}:{port}{path}"


async def bounded_text(response: httpx.Response, most: int) -> str | None:
    """The body of a streamed response; None where it has more than `most` bytes."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > most:
            return None
    return body.decode("utf-8", errors="replace")

"""On whose behalf a request comes, how urgent it is, and how long its client would wait."""

import math
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address

from starlette.requests import Request
from starlette.types import Scope

from plimsoll_runtime.server.errors import bad_request, shown

TENANT_HEADERS = ("x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id")
TTFT_HEADERS = ("x-llm-d-slo-ttft-ms", "x-slo-ttft-ms")
MAX_TENANT = 64
TENANT = "plimsoll.tenant"
"""Where authentication leaves the tenant of a named key, in the ASGI scope."""


@dataclass(frozen=True)
class Origin:
    """`max_wait` is the client's objective, in seconds; None: it has none."""

    tenant: str = ""
    priority: int = 0
    max_wait: float | None = None


def origin_of(request: Request, priority: int | None) -> Origin:
    """From the API key's name, or the headers that the Gateway API's inference extension uses.

    With a named key the header says nothing: who may choose a tenant freely could choose a fresh
    one for every request. Without one, a gateway is trusted with it. Raises APIError 400.
    """
    tenant = request.scope.get(TENANT)
    if tenant is None:
        tenant = _header(request, TENANT_HEADERS) or ""
        if len(tenant) > MAX_TENANT:
            tenant = sha256(tenant.encode()).hexdigest()
    return Origin(tenant, priority or 0, _max_wait(request))


def _max_wait(request: Request) -> float | None:
    text = _header(request, TTFT_HEADERS)
    if not text:
        return None
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = math.nan
    if not 0 < milliseconds < math.inf:
        raise bad_request(
            f"{TTFT_HEADERS[0]}: must be a number of milliseconds above 0, not {shown(text)}",
            param=TTFT_HEADERS[0],
        )
    return milliseconds / 1000


def _header(request: Request, names: tuple[str, ...]) -> str | None:
    return next((request.headers[name] for name in names if name in request.headers), None)


def over_loopback(scope: Scope) -> bool:
    """Whether the client is on this machine, or in this pod, as `kubectl port-forward` is."""
    client = scope.get("client")
    if client is None:
        return False
    address = ip_address(client[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)

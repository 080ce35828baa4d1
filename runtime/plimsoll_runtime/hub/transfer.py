"""Brings the bytes of one file, and goes on where a connection broke off."""

import time
from pathlib import Path

import httpx2

from plimsoll_runtime.hub.errors import HubError, HubUnreachableError

IDLE_ATTEMPTS = 5
"""In a row that bring nothing, after which it is given up."""
PAUSE_SECONDS = 1.0
TIMEOUT = httpx2.Timeout(30.0, connect=10.0)
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


def transfer(client: httpx2.Client, url: str, part: Path, size: int) -> None:
    """Appends to `part` until it has `size` bytes; what it holds already is not asked for again.

    Raises HubError where the server refuses, HubUnreachableError where it does not answer.
    """
    idle = 0
    part.touch()
    while (have := part.stat().st_size) < size:
        try:
            trouble = _attempt(client, url, part, have, size)
        except httpx2.TransportError as error:
            trouble = type(error).__name__
        idle = 0 if part.stat().st_size > have else idle + 1
        if idle == IDLE_ATTEMPTS:
            raise HubUnreachableError(f"{url}: {IDLE_ATTEMPTS} attempts brought nothing: {trouble}")
        if trouble:
            time.sleep(PAUSE_SECONDS)


def _attempt(client: httpx2.Client, url: str, part: Path, have: int, size: int) -> str:
    """One answer, to its end or until the connection breaks; returns what is wrong with it."""
    # Not compressed, so that what comes is what is stored, and can be counted.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with client.stream("GET", url, headers=headers) as answer:
        status = answer.status_code
        if status in _RETRIED:
            return f"the answer is {status}"
        if status not in (200, 206):
            raise HubError(f"{url}: the Hub answered {status}")
        goes_on = status == 206 and have > 0
        with part.open("ab" if goes_on else "wb") as out:
            for piece in answer.iter_raw():
                out.write(piece)
                if out.tell() > size:
                    raise HubError(f"{url}: more comes than the {size} bytes that the Hub tells")
    return ""

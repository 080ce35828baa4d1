"""Reads measured steps, and what the server did besides: from an engine's admin port, or from a
file with what it answered."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from plimsoll_planner.calibration.fit import Sample
from plimsoll_planner.calibration.frontend_work import Look

PATH = "/admin/steps"
TIMEOUT_SECONDS = 10.0
POLL_SECONDS = 1.0
MAX_FILE_BYTES = 1 << 26
MOST = 2**53
"""Of a counter: beyond it numbers are not exact any more."""


class StepsError(Exception):
    """Measured steps cannot be read; the message says why and what to give instead."""


class Told(NamedTuple):
    """How many steps there were in all, and the latest of them; the latest looks at what the server
    did besides, none of an engine that does not tell."""

    num_steps: int
    samples: tuple[Sample, ...]
    looks: tuple[Look, ...] = ()


def read_file(path: Path) -> Told:
    """What a file has that holds what GET /admin/steps answered. Raises StepsError."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise StepsError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StepsError(f"{path}: cannot be read: {reason}") from error
    return parse_steps(text, str(path))


def poll(
    url: str,
    seconds: float,
    *,
    client: httpx.Client | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Told:
    """The latest steps and looks of the engine whose admin port is at `url`, and those of the next
    `seconds`.

    The engine keeps some and counts all, so that none is taken twice. Raises StepsError.
    """
    own = client or httpx.Client(timeout=TIMEOUT_SECONDS)
    until = clock() + seconds
    try:
        counted, samples, looks = _fetched(own, url)
        found, looked = list(samples), set(looks)
        while clock() < until:
            sleep(min(POLL_SECONDS, max(0.0, until - clock())))
            total, samples, looks = _fetched(own, url)
            new = total - counted
            if new < 0:
                raise StepsError(f"{url}: the engine was restarted meanwhile; try again")
            found += samples[len(samples) - min(new, len(samples)) :]
            looked |= set(looks)
            counted = total
    finally:
        if client is None:
            own.close()
    return Told(counted, tuple(found), tuple(sorted(looked)))


def _fetched(client: httpx.Client, url: str) -> Told:
    where = url.rstrip("/") + PATH
    try:
        response = client.get(where)
        response.raise_for_status()
    except httpx.HTTPStatusError as error:
        raise StepsError(
            f"{where} answers {error.response.status_code}: give the address of the engine's admin "
            "port, as --admin-port says"
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise StepsError(
            f"{where}: {error}: is the engine's admin port reached there? For a pod: "
            "kubectl port-forward pod/NAME 9090"
        ) from error
    return parse_steps(response.text, where)


def parse_steps(text: str, origin: str) -> Told:
    """What an admin port answered. Raises StepsError."""
    try:
        document = json.loads(text)
        samples = tuple(
            Sample(
                tokens=int(step["num_tokens"]),
                sequences=int(step["num_seqs"]),
                context=int(step["num_context_tokens"]),
                seconds=float(step["seconds"]),
                told_pairs=int(step["num_pairs"]) if "num_pairs" in step else None,
            )
            for step in document["steps"]
        )
        looks = tuple(map(_look, document.get("frontend", ())))
        return Told(int(document["num_steps"]), samples, looks)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise StepsError(
            f"{origin}: not what GET {PATH} answers, an object with num_steps and steps of "
            "num_tokens, num_seqs, num_context_tokens and seconds"
        ) from error


def _look(told: dict[str, Any]) -> Look:
    counts = ("requests", "prompt_tokens", "steps", "events", "tokens")
    numbers = [int(told[f"num_{name}"]) for name in counts]
    found = Look(float(told["at"]), float(told["cpu_seconds"]), *numbers)
    if not all(0 <= each < MOST for each in found):
        raise ValueError("not counters")
    return found

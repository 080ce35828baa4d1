"""What goes wrong between operator and API server, drawn from a seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Fault = Literal["drop", "cut", "silence", "fail", "garble"]
REASONS = {
    400: "BadRequest",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}
BUSY = (429, 500, 503)
ERRORS = {
    "GET": BUSY,
    "PAGE": (410, *BUSY),
    "LIST": (400, 410, *BUSY),
    "WATCH": (400, 410, *BUSY),
}
WRITE_ERRORS = (409, *BUSY)
"""What API servers answer: only writes conflict, only pages and watches expire. LIST is one of
kopf's, for which it is fatal to be refused as a bad request, as it may be in an upgrade."""


@dataclass(frozen=True)
class Fate:
    """What becomes of a request.

    An `error` of that HTTP status, before or `too_late` after the API server has carried it out;
    or, of a list, a `stale` answer from earlier; or `silent`, none until the operator leaves.
    """

    error: int | None = None
    too_late: bool = False
    stale: bool = False
    silent: bool = False

    @property
    def reason(self) -> str:
        return REASONS.get(self.error or 0, "Unknown")


class Faults(Protocol):
    """Decides for each request and each event of a watch."""

    def request(self, verb: str) -> Fate:
        """`verb` is HTTP's, or WATCH, PAGE for a part of a list, or LIST for one of kopf's."""

    def event(self) -> Fault | None:
        """What becomes of an event: silence lasts until the watch is left, and the watch ends with
        one that fails or is garbled."""

    def earlier(self, answers: Sequence[bytes]) -> bytes:
        """Which of earlier answers to the same list is served, oldest first."""


class Peace:
    """Nothing goes wrong."""

    def request(self, verb: str) -> Fate:
        return Fate()

    def event(self) -> Fault | None:
        return None

    def earlier(self, answers: Sequence[bytes]) -> bytes:
        return answers[-1]


class Outage(Peace):
    """The API server answers nothing but that it is not available."""

    def request(self, verb: str) -> Fate:
        return Fate(503)

    def event(self) -> Fault | None:
        return "cut"


@dataclass
class Rates(Peace):
    """Faults by their share of requests or events (0 to 1)."""

    seed: int
    errors: float = 0.0
    too_late: float = 0.0
    stale: float = 0.0
    drop: float = 0.0
    cut: float = 0.0
    silence: float = 0.0
    fail: float = 0.0
    hang: float = 0.0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - it is to be foreseen

    def request(self, verb: str) -> Fate:
        draw = self._random.random()
        error = self._random.choice(ERRORS.get(verb, WRITE_ERRORS))
        if draw < self.errors:
            return Fate(error)
        if draw < self.errors + self.too_late:
            return Fate(error, too_late=verb != "WATCH")
        if draw < self.errors + self.too_late + self.hang:
            return Fate(silent=True)
        return Fate(stale=self._random.random() < self.stale)

    def event(self) -> Fault | None:
        draw = self._random.random()
        shares: tuple[tuple[float, Fault], ...] = (
            (self.drop, "drop"),
            (self.cut, "cut"),
            (self.silence, "silence"),
            (self.fail / 2, "fail"),
            (self.fail / 2, "garble"),
        )
        for share, fault in shares:
            if draw < share:
                return fault
            draw -= share
        return None

    def earlier(self, answers: Sequence[bytes]) -> bytes:
        return self._random.choice(answers)

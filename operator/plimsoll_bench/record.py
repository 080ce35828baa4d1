"""What became of a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Failure(StrEnum):
    """Why a request has no answer that counts."""

    CONNECTION = "connection"
    TIMEOUT = "timeout"
    REFUSED = "http"
    STREAM = "stream"
    CUT_OFF = "cut off"
    LENGTH = "length"
    NOT_SENT = "not sent"


@dataclass(frozen=True)
class Record:
    """Times in seconds from the beginning of the load.

    `due` is when it should have been sent, `begun` when the client turned to it, `ended` when the
    answer's last byte had come. `times` are those of the pieces with tokens, `counts` how many each
    had. `failure` is empty where the answer counts, else a kind, perhaps with a status behind it
    (`http 429`).
    """

    due: float
    begun: float
    ended: float
    asked_tokens: int
    prompt_tokens: int = 0
    output_tokens: int = 0
    times: Sequence[float] = ()
    counts: Sequence[int] = ()
    digest: str = ""
    failure: str = ""
    reason: str = ""

    @property
    def ttft(self) -> float | None:
        """From when it was due to its first token; to its end where no piece showed any, as of a
        server that tells no ids and has only a part of a character to send."""
        if self.times:
            return self.times[0] - self.due
        return self.e2e if self.output_tokens else None

    @property
    def tpot(self) -> float | None:
        """Mean time of a token after the first piece's; None where there is none."""
        if self.output_tokens < 2 or len(self.times) < 2:
            return None
        return (self.times[-1] - self.times[0]) / (self.output_tokens - 1)

    @property
    def e2e(self) -> float:
        """From when it was due to its end."""
        return self.ended - self.due

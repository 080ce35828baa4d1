"""Pure: what became of a request, and why if nothing did."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from e2e.support.traffic import Arrival


@dataclass(frozen=True)
class Request:
    """One request of the day. Times in seconds from the start: when it was due, when it was begun
    and when it ended; TTFT counts from when it was due. `failure` is empty for a full answer."""

    due: float
    begun: float
    ended: float
    ttft: float | None
    tpot: float | None
    prompt_tokens: int
    output_tokens: int
    failure: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Objectives:
    """In seconds."""

    ttft: float
    tpot: float

    def hold(self, request: Request) -> bool:
        """Whether it was answered, and in time."""
        return (
            not request.failure
            and request.ttft is not None
            and request.ttft <= self.ttft
            and (request.tpot is None or request.tpot <= self.tpot)
        )


@dataclass(frozen=True)
class Sent:
    """What a sender has said so far: when it began (seconds of the epoch), what ended, by number,
    and whether that was all."""

    start: float | None
    requests: dict[int, Request]
    done: bool


def parse_log(lines: Iterable[str], arrivals: Sequence[Arrival]) -> Sent:
    """From the lines that `sender.py` prints; lines that are cut off are left out."""
    start: float | None = None
    found: dict[int, Request] = {}
    done = False
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if not isinstance(row, dict):
            continue
        start = row.get("start", start)
        done = done or "done" in row
        number = row.pop("n", -1)
        if 0 <= number < len(arrivals):
            of = arrivals[number]
            found[number] = Request(
                due=of.at, prompt_tokens=of.prompt_tokens, output_tokens=of.output_tokens, **row
            )
    return Sent(start, found, done)

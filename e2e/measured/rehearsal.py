"""Traffic like that which is measured, which it is calibrated on: requests that come later in the
same trace. So the operator calibrates, too: on the steps of yesterday's traffic.
"""

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from e2e.measured.client import Record
from e2e.measured.engine import Engine
from e2e.measured.frontend import Seen
from e2e.measured.probes import plain_samples, samples_of
from e2e.measured.traffic import sendings
from e2e.measured.work import Work, work_of
from plimsoll_planner.calibration.fit import Sample
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.trace import at_rate

LOADS = (0.4, 0.7, 1.0)
"""Of the knee that is predicted by the probes alone. A core that often waits is slower in each
step, so that traffic of one load would tell of that load alone."""
MOST_SAMPLES = 500
"""Of a rehearsal, evenly: about as many as there are of the probes."""
POLL_SECONDS = 0.5
"""The engine remembers some thousand steps."""


def rates(knee: float) -> list[float]:
    """Of the parts."""
    return [share * knee for share in LOADS]


def parts(arrivals: Sequence[Arrival], rates: Sequence[float]) -> list[list[Arrival]]:
    """The requests in as many parts as there are rates, each at its own."""
    if not rates:
        return []
    each = len(arrivals) // len(rates)
    return [
        at_rate(arrivals[number * each : (number + 1) * each], rate)
        for number, rate in enumerate(rates)
    ]


class Rehearsed(NamedTuple):
    """Steps, evenly of each part; the rate of each part, what its clients waited for their first
    tokens, and what the frontend did. The latter are empty where they were not measured."""

    samples: tuple[Sample, ...]
    rates: tuple[float, ...] = ()
    ttft: tuple[tuple[float, ...], ...] = ()
    work: tuple[Work, ...] = ()

    def plain(self) -> dict[str, list[Any]]:
        """As lists of numbers."""
        return {
            "rehearsed": plain_samples(self.samples),
            "rehearsed_rates": list(self.rates),
            "rehearsed_ttft": list(map(list, self.ttft)),
            "rehearsed_work": list(map(list, self.work)),
        }

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Rehearsed":
        """From `plain`."""
        return cls(
            samples_of(plain["rehearsed"]),
            tuple(plain.get("rehearsed_rates", ())),
            tuple(map(tuple, plain.get("rehearsed_ttft", ()))),
            work_of(plain.get("rehearsed_work", ())),
        )

    def seen(self, arrivals: Sequence[Arrival]) -> list[Seen]:
        """With the requests, which are those of `rehearse`."""
        return list(map(Seen, parts(arrivals, self.rates), self.ttft))


def rehearse(
    engine: Engine, arrivals: Sequence[Arrival], rates: Sequence[float], vocab_size: int
) -> Rehearsed:
    """Sends one part after the other, each at its rate.

    Raises RuntimeError where a request fails.
    """
    most = MOST_SAMPLES // len(rates)
    samples: list[Sample] = []
    ttft: list[tuple[float, ...]] = []
    done = len(engine.work)
    for number, part in enumerate(parts(arrivals, rates)):
        taken, records = _sent(engine, part, vocab_size, f"rehearsal {number}")
        samples += thinned(taken, most)
        ttft.append(tuple(each.tokens[0] for each in records))
    return Rehearsed(tuple(samples), tuple(rates), tuple(ttft), tuple(engine.work[done:]))


def _sent(
    engine: Engine, arrivals: Sequence[Arrival], vocab_size: int, seed: str
) -> tuple[list[Sample], list[Record]]:
    engine.steps()
    taken: list[Sample] = []
    ended = threading.Event()

    def poll() -> None:
        while not ended.wait(POLL_SECONDS):
            taken.extend(engine.steps())

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        records = engine.send(sendings(arrivals, vocab_size, seed))
    finally:
        ended.set()
        poller.join()
    taken.extend(engine.steps())
    return taken, records


def thinned(samples: Sequence[Sample], most: int) -> tuple[Sample, ...]:
    """At most so many of them, evenly."""
    count = min(most, len(samples))
    return tuple(samples[i * len(samples) // count] for i in range(count))

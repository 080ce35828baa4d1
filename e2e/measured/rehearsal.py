"""Traffic like that which is measured, which it is calibrated on: requests that come later in the
same trace. So the operator calibrates, too: on the steps of yesterday's traffic.
"""

import threading
from collections.abc import Sequence

from e2e.measured.engine import Engine
from e2e.measured.traffic import sendings
from plimsoll_planner.calibration import Sample
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.trace import at_rate

LOADS = (0.4, 0.7, 1.0)
"""Of the knee that is predicted by the probes alone. A core that often waits is slower in each
step, so that traffic of one load would tell of that load alone."""
MOST_SAMPLES = 500
"""Of a rehearsal, evenly: about as many as there are of the probes."""
POLL_SECONDS = 0.5
"""The engine remembers some thousand steps."""


def parts(arrivals: Sequence[Arrival], knee: float) -> list[list[Arrival]]:
    """The requests in as many parts as there are loads, each at its own."""
    each = len(arrivals) // len(LOADS)
    return [
        at_rate(arrivals[number * each : (number + 1) * each], share * knee)
        for number, share in enumerate(LOADS)
    ]


def rehearse(
    engine: Engine, arrivals: Sequence[Sequence[Arrival]], vocab_size: int
) -> tuple[Sample, ...]:
    """The steps that the engine took for these, one part after the other, evenly of each.

    Raises RuntimeError where a request fails.
    """
    most = MOST_SAMPLES // len(arrivals)
    return tuple(
        step
        for number, part in enumerate(arrivals)
        for step in thinned(_steps(engine, part, vocab_size, f"rehearsal {number}"), most)
    )


def _steps(engine: Engine, arrivals: Sequence[Arrival], vocab_size: int, seed: str) -> list[Sample]:
    engine.steps()
    taken: list[Sample] = []
    ended = threading.Event()

    def poll() -> None:
        while not ended.wait(POLL_SECONDS):
            taken.extend(engine.steps())

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        engine.send(sendings(arrivals, vocab_size, seed))
    finally:
        ended.set()
        poller.join()
    taken.extend(engine.steps())
    return taken


def thinned(samples: Sequence[Sample], most: int) -> tuple[Sample, ...]:
    """At most so many of them, evenly."""
    count = min(most, len(samples))
    return tuple(samples[i * len(samples) // count] for i in range(count))

"""Traffic like that which is measured, which it is calibrated on: requests that come later in the
same trace. So the operator calibrates, too: on the steps of yesterday's traffic.
"""

import threading
from collections.abc import Sequence

from e2e.measured.engine import Engine
from e2e.measured.traffic import sendings
from plimsoll_planner.calibration import Sample
from plimsoll_planner.simulation.arrival import Arrival

LOAD = 0.7
"""Of the knee that is predicted by the probes alone."""
MOST_SAMPLES = 500
"""Of a rehearsal, evenly: about as many as there are of the probes."""
POLL_SECONDS = 0.5
"""The engine remembers some thousand steps."""


def rehearse(engine: Engine, arrivals: Sequence[Arrival], vocab_size: int) -> tuple[Sample, ...]:
    """The steps that the engine took for these requests. Raises RuntimeError where one fails."""
    engine.steps()
    taken: list[Sample] = []
    ended = threading.Event()

    def poll() -> None:
        while not ended.wait(POLL_SECONDS):
            taken.extend(engine.steps())

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        engine.send(sendings(arrivals, vocab_size, "rehearsal"))
    finally:
        ended.set()
        poller.join()
    taken.extend(engine.steps())
    return thinned(taken, MOST_SAMPLES)


def thinned(samples: Sequence[Sample], most: int) -> tuple[Sample, ...]:
    """At most so many of them, evenly."""
    count = min(most, len(samples))
    return tuple(samples[i * len(samples) // count] for i in range(count))

"""How long requests have to be for the engine, and not what is in front of it, to be measured."""

from e2e.measured.comparison import predicted
from e2e.measured.traffic import Recorded
from plimsoll_planner.simulation.load_curve import capacity
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_planner.simulation.trace import at_rate

LONGER = (1, 2, 4, 8)
MOST_OUTSIDE = 0.2
"""Share of the median TTFT that may pass outside of the engine."""
LIGHT = 0.3
"""Of the capacity: a load at which hardly anybody waits."""


def longer(replica: ReplicaModel, trace: Recorded, count: int) -> int:
    """By how much less the trace's lengths are divided: the least of LONGER, or the last.

    Derived from what probes say, because it is another one for each model and machine.
    """
    frontend = replica.frontend
    if frontend is None:
        return LONGER[0]
    for each in LONGER:
        arrivals = trace.arrivals(count, replica.limits.max_model_len, longer=each)
        coming = at_rate(arrivals, LIGHT * capacity(replica, arrivals))
        prompt = sorted(arrival.prompt_tokens for arrival in arrivals)[len(arrivals) // 2]
        outside = frontend.before_first_token(prompt)
        if outside <= MOST_OUTSIDE * predicted(replica, coming).ttft_p50:
            return each
    return LONGER[-1]

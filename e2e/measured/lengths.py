"""How long requests have to be for the engine, and not what is in front of it, to be measured."""

import statistics

from e2e.measured.traffic import Recorded
from plimsoll_planner.simulation.replica import ReplicaModel

LONGER = (1, 2, 4, 8)
MOST_OUTSIDE = 0.2
"""Share of a median request's TTFT that may pass outside of the engine where it is alone."""


def longer(replica: ReplicaModel, trace: Recorded, count: int) -> int:
    """By how much less the trace's lengths are divided: the least of LONGER, or the last.

    Derived from what probes say, because it is another one for each model and machine.
    """
    frontend = replica.frontend
    if frontend is None:
        return LONGER[0]
    for each in LONGER:
        arrivals = trace.arrivals(count, replica.limits.max_model_len, longer=each)
        prompt = round(statistics.median(arrival.prompt_tokens for arrival in arrivals))
        outside = frontend.before_first_token(prompt)
        computing = replica.step(prompt, 1, prompt, prompt * (prompt + 1) / 2)
        if outside <= MOST_OUTSIDE * (outside + computing):
            return each
    return LONGER[-1]

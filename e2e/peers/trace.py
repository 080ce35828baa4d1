"""A recorded trace, thinned to what CPUs can serve."""

from collections.abc import Sequence

from plimsoll_bench.figures import Objectives
from plimsoll_bench.token_ids import splitmix64
from plimsoll_bench.traffic import cut
from plimsoll_bench.wanted import Trace
from plimsoll_planner.simulation.arrival import Arrival

NAME = "trace"
OBJECTIVES = {"135m": Objectives(2.0, 0.06), "0.5b": Objectives(5.0, 0.15)}
"""Of every engine alike: some four times what a long prompt and a token take alone."""
CONTEXT = 2048
_SEED = 2023


def thinned(
    trace: Sequence[Arrival], rate: float, seconds: float, seed: int = _SEED
) -> list[Arrival]:
    """Of the requests of the first `seconds`, so many at random that `rate` a second are left, each
    at its own time: unlike in a stretched trace, load rises and falls as fast as it did. What is
    kept at one rate is kept at any higher one.

    Raises ValueError where the trace has fewer.
    """
    window = [each for each in trace if each.at - trace[0].at < seconds]
    count = max(1, round(rate * seconds))
    if count > len(window):
        raise ValueError(
            f"{count} requests in {seconds:g} s are wanted, and the trace has {len(window)}: "
            "take a lower rate or a longer trace"
        )
    ranked = sorted(zip(splitmix64(seed), window, strict=False), key=lambda pair: pair[0])
    kept = sorted(each for _, each in ranked[:count])
    return [each._replace(at=each.at - trace[0].at) for each in kept]


def at_rate(trace: Sequence[Arrival], rate: float, seconds: float) -> Trace:
    """For the bench. Raises ValueError."""
    return Trace(f"{NAME} at {rate:.3g}/s", cut(thinned(trace, rate, seconds), 1, CONTEXT))

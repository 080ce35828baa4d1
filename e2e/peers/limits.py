"""What this machine's memory and products allow a workload at best."""

from e2e.peers.engine import Precision
from e2e.peers.roofline import Roofline, Work
from plimsoll_bench.workloads import FIXED, workload
from plimsoll_planner.model_facts import ModelFacts

_ALONE = ("TPOT p50", "TPOT p99")


def limit(
    facts: ModelFacts, kind: str, figure: str, precision: Precision, roofline: Roofline | None
) -> float | None:
    """The best that a figure of that workload can be; None where nothing can be said.

    Of a trace and of Poisson arrivals that is a token's time alone, which reads all weights; of
    requests at once, that of all of them.
    """
    if roofline is None:
        return None
    if kind not in FIXED:
        return roofline.tpot(facts, precision) if figure in _ALONE else None
    work = work_of(kind)
    least = roofline.seconds(facts, work, precision)
    known = {"seconds in all": least, "output tokens": work.outputs / least}
    if work.requests == 1:
        known |= dict.fromkeys(_ALONE, roofline.tpot(facts, precision))
        first = roofline.seconds(facts, Work(work.prompts, 1, 1, 1), precision)
        known |= {"TTFT p50": first, "prefill tokens": work.prompts / first}
    return known.get(figure)


def work_of(kind: str) -> Work:
    """The tokens of W1 to W4, a prefix that requests share counted once."""
    requests = workload(kind, 1).requests
    pieces = {piece for each in requests for piece in each.prompt}
    outputs = [each.output_tokens for each in requests]
    return Work(sum(each.tokens for each in pieces), sum(outputs), len(requests), max(outputs))

"""Pure: the LLMDeployment that serves the day."""

from collections.abc import Sequence

from e2e.day.arrivals import Lengths
from e2e.day.figures import percentile
from e2e.day.request import Objectives
from e2e.support.kubectl import Object
from e2e.support.resources import tiny

NAME = "day"
OBJECTIVES = Objectives(ttft=2.0, tpot=0.1)
FEWEST_REPLICAS, MOST_REPLICAS = 2, 3
"""Of half a core each: so many that one may be killed, and so few that two cores have some room for
the cluster itself."""
HOUR = 1 / 24


def deployment(mean: float, seconds: float, lengths: Sequence[Lengths]) -> Object:
    """Declares the day's mean rate. Fewer replicas must have sufficed for an hour of the compressed
    day before one goes, or for five minutes, which is the default, where that is shorter."""
    return tiny(
        NAME,
        workload={
            "requestsPerSecond": f"{round(1000 * mean)}m",
            "promptTokens": _figures([each.prompt for each in lengths]),
            "outputTokens": _figures([each.output for each in lengths]),
        },
        slo={
            "timeToFirstToken": {"p95": f"{1000 * OBJECTIVES.ttft:.0f}ms"},
            "timePerOutputToken": {"p95": f"{1000 * OBJECTIVES.tpot:.0f}ms"},
        },
        # So few that a few requests a second fill several replicas.
        pin={"maxNumSeqs": 2},
        scaling={
            "minReplicas": FEWEST_REPLICAS,
            "maxReplicas": MOST_REPLICAS,
            "scaleDownStabilization": f"{min(300.0, HOUR * seconds):.0f}s",
        },
        # All cores of the node may be in use already.
        rollout={"maxUnavailable": 1},
    )


def _figures(tokens: Sequence[int]) -> dict[str, int]:
    p95 = percentile(tokens, 0.95)
    return {"mean": round(sum(tokens) / len(tokens)), "p95": int(p95 or 0)}

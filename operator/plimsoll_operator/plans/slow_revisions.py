"""Which revisions turned out slower than predicted, so that they are not taken up again: pure."""

from collections.abc import Collection, Sequence

from plimsoll_operator.api.status import Condition
from plimsoll_operator.plans.drift import SLOWER

MOST = 10


def drifted(
    known: Sequence[str], current: str, condition: Condition | None, kept: Collection[str]
) -> list[str]:
    """`known` with what PlanDrifted says of the revision `current`, of those that are `kept`.

    Traffic that differs is no reason to plan the same spec anew: it would be as wrong.
    """
    names = [name for name in known if name in kept or name == current]
    if condition is not None and condition.status != "Unknown":
        names = [name for name in names if name != current]
        if condition.status == "True" and condition.reason == SLOWER:
            names.append(current)
    return names[-MOST:]

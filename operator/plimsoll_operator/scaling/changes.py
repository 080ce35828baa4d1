"""Changes of the count as kept decisions tell them, for a pace that outlives the operator."""

from collections.abc import Sequence
from datetime import datetime

from plimsoll_operator.api.status import ScalingDecision
from plimsoll_operator.scaling.pace import Change


def changes_in(
    decisions: Sequence[ScalingDecision], today: datetime, now: float
) -> tuple[Change, ...]:
    """Changes of the count that are kept; `now` is `today` in seconds of another clock.

    What is not readable, as of a status that somebody else wrote, is left out.
    """
    changes = []
    for each in decisions:
        try:
            ago = (today - datetime.fromisoformat(each.at)).total_seconds()
        except (ValueError, TypeError):
            continue
        to = each.replicas if each.held is None else each.held
        changes.append(Change(now - ago, to - each.current))
    return tuple(changes)

"""The last changes of a resource's replica count: why, and whether that gives the same again."""

from plimsoll_operator.api.status import ScalingDecision
from plimsoll_operator.reports.layout import BROKEN, KEPT, wrapped
from plimsoll_operator.resource import Resource
from plimsoll_operator.scaling.demand import CLEAR_SECONDS
from plimsoll_operator.scaling.record import again


def scaling_report(resource: Resource) -> str:
    """A paragraph a decision, newest first; empty where none is kept."""
    lines: list[str] = []
    for decision in reversed(resource.status.scaling):
        lines += wrapped("scaled" if not lines else "", _text(decision))
    return "".join(f"{line}\n" for line in lines)


def _text(decision: ScalingDecision) -> str:
    try:
        wanted, replicas = again(decision)
    except (ValueError, ZeroDivisionError):
        return f"{decision.at}: {decision.current} → {decision.replicas}; not readable any more"
    steps = "" if decision.held is None else f", {decision.held} first, while others drain"
    same = (wanted, replicas) == (decision.wanted, decision.replicas)
    verdict = f"{KEPT} the same again" if same else f"{BROKEN} today {replicas}, for {wanted}"
    change = f"{decision.current} → {decision.replicas}{steps}"
    return (
        f"{decision.at}: {change}: {_formula(decision)} needs {decision.wanted}; "
        f"{_window(decision)} ({verdict})"
    )


def _formula(decision: ScalingDecision) -> str:
    rate = decision.requests_per_second
    if rate is None or not float(decision.capacity):
        return (
            f"{decision.running} running and {decision.waiting} waiting on {decision.ready} "
            f"replicas of {decision.slots} slots"
        )
    standing = "" if decision.standing == "0" else f", {decision.standing} waiting for a minute,"
    return (
        f"({rate} req/s + {decision.waiting} waiting / {CLEAR_SECONDS:g} s) / "
        f"({decision.capacity} req/s × {decision.correction}){standing}"
    )


def _window(decision: ScalingDecision) -> str:
    if decision.replicas > decision.current:
        pace = "" if decision.most is None else f"; behavior.scaleUp allows {decision.most}"
        return f"at least {decision.lowest} for the last seconds{pace}"
    pace = "" if decision.fewest is None else f"; behavior.scaleDown allows {decision.fewest}"
    return f"at most {decision.highest} for the whole stabilization window{pace}"

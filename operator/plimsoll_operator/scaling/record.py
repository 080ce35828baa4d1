"""Decisions of the autoscaler as the status keeps them, and made again from there: pure."""

from collections.abc import Sequence

from plimsoll_operator.api.status import ScalingDecision
from plimsoll_operator.scaling.autoscale import Basis, Policy, clamp, paced, settled
from plimsoll_operator.scaling.demand import Demand, replicas_for

MOST_KEPT = 10
"""Each has some 400 bytes; a day of steady traffic makes fewer."""


def record(basis: Basis, replicas: int, at: str, held: int | None = None) -> ScalingDecision:
    """A decision for `replicas` as it is kept; `held` is asked for instead, for now."""
    demand = basis.demand
    return ScalingDecision(
        at=at,
        current=basis.current,
        replicas=replicas,
        wanted=basis.wanted,
        lowest=basis.lowest,
        highest=basis.highest,
        fewest=basis.fewest,
        most=basis.most,
        min_replicas=basis.policy.min_replicas,
        max_replicas=basis.policy.max_replicas,
        ready=demand.ready,
        slots=demand.slots,
        running=f"{demand.running:.6g}",
        waiting=f"{demand.waiting:.6g}",
        standing=f"{demand.standing:.6g}",
        filled=f"{demand.filled:.6g}",
        requests_per_second=None if demand.arrivals is None else f"{demand.arrivals:.6g}",
        capacity=f"{demand.capacity:.6g}",
        correction=f"{demand.correction:.6g}",
        held=held,
    )


def kept(before: Sequence[ScalingDecision], news: ScalingDecision) -> list[ScalingDecision]:
    """The last decisions with one more."""
    return [*before, news][-MOST_KEPT:]


def demand_in(decision: ScalingDecision) -> Demand:
    """What a kept decision was computed from. Raises ValueError where that is no number."""
    rate = decision.requests_per_second
    return Demand(
        running=float(decision.running),
        waiting=float(decision.waiting),
        filled=float(decision.filled),
        ready=decision.ready,
        slots=decision.slots,
        arrivals=None if rate is None else float(rate),
        capacity=float(decision.capacity),
        correction=float(decision.correction),
        standing=float(decision.standing),
    )


def again(decision: ScalingDecision) -> tuple[int, int]:
    """What the demand needs, and the count that follows, computed anew from what is kept.

    Raises ValueError as `demand_in` does.
    """
    policy = Policy(decision.min_replicas, decision.max_replicas, 0.0)
    current = clamp(decision.current, policy)
    wanted = clamp(replicas_for(demand_in(decision), current), policy)
    replicas = settled(current, decision.lowest, decision.highest)
    return wanted, paced(replicas, current, decision.fewest, decision.most)

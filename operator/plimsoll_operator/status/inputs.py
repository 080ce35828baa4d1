"""What there is to know about one resource when its status is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plimsoll_operator.api.status import Feasibility, MeasuredCalibration
from plimsoll_operator.kube.refusal import Refusal
from plimsoll_operator.observed import Observed, Rollout
from plimsoll_operator.plans.choice import Standing, Trouble
from plimsoll_operator.plans.drift import NO_NEWS, Drift
from plimsoll_operator.resource import Resource
from plimsoll_operator.rollouts.live_limits import NO_REPORT, LimitsReport
from plimsoll_operator.scaling.autoscale import Decision


@dataclass(frozen=True)
class Situation:
    """All that a status is made from. `pending` names the children that are about to change.

    Pods run by the plan whose revision is `started`, under the limits that `limits` tells of.
    `refusals` are the API server's answers where it did not let them. `draining` are pods that are
    not ready because they are about to go.
    """

    standing: Standing
    trouble: Trouble | None = None
    decision: Decision | None = None
    observed: Observed = field(default_factory=Observed)
    replicas: int = 0
    pending: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    drift: Drift = NO_NEWS
    calibration: MeasuredCalibration | None = None
    started: str | None = None
    limits: LimitsReport = NO_REPORT
    draining: tuple[str, ...] = ()

    @property
    def pods(self) -> tuple[Mapping[str, Any], ...]:
        """The pods that should serve: all but those that drain."""
        return tuple(
            pod for pod in self.observed.pods if pod["metadata"]["name"] not in self.draining
        )


def describe_infeasible(feasibility: Feasibility) -> str:
    """What stands in the way, and the nearest ways out."""
    ways = "; ".join(f"{item.change} ({item.effect})" for item in feasibility.alternatives)
    return feasibility.binding_constraint + (f". It would hold with: {ways}" if ways else "")


def keeps_plan(resource: Resource, situation: Situation, progress: Rollout) -> bool:
    """Whether an earlier plan stays in force because the Deployment for this one is refused."""
    refused = any(
        refusal.action.key == ("Deployment", resource.name) and not refusal.action.only_scales
        for refusal in situation.refusals
    )
    return refused and progress.exists and resource.status.plan is not None

"""A resource in its world whose rollouts can fail, looked at as the controller looks at it."""

import copy
from datetime import UTC, datetime
from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.api.status import LimitsStatus
from plimsoll_operator.plans.choice import Standing, pods_hash
from plimsoll_operator.reconcile import Desired, Outcome, reconcile
from plimsoll_operator.render.labels import PLAN_LABEL
from plimsoll_operator.render.revision import KIND as REVISION
from plimsoll_operator.resource import Resource, parse_resource
from plimsoll_operator.revisions.kept_plan import KeptPlan, kept_plans
from plimsoll_operator.rollouts.hold import after_rollback, held, while_paused
from plimsoll_operator.rollouts.live_limits import LimitsReport
from plimsoll_operator.rollouts.pod_source import choose_source
from plimsoll_operator.scaling.schedule import in_force
from tests.unit.plimsoll_operator.samples import NOW, Cell, cpu_plan, raw_resource

Object = dict[str, Any]
TIMED_OUT = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
AGREED = LimitsReport(
    LimitsStatus(
        max_num_seqs=4,
        max_num_batched_tokens=256,
        kv_cache_tokens=16384,
        replicas=9,
        started_revision="0000000008",
    )
)
"""What engines say where they have taken the plan's limits."""
NO_TIME, BUSY_TIME = (datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (3, 12))
GOOD = {"source": "pvc://models/good", "configFrom": {"configMapKeyRef": {"name": "facts"}}}
BAD = {**GOOD, "source": "pvc://nowhere/bad"}


def planned(resource: Resource) -> Standing:
    """A plan that depends on pins alone, as different models may be planned the same."""
    spec = resource.spec
    assert isinstance(spec, LLMDeploymentSpec), resource.invalid
    seqs = spec.pin.max_num_seqs or 8
    kept = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"replicas"})
    return Standing(
        plan=cpu_plan(revision=f"{seqs:010x}", max_num_seqs=seqs, summary=f"cpu bs{seqs}"),
        inputs=f"inputs {seqs}",
        pods=pods_hash(spec),
        record={"generation": resource.generation, "spec": kept},
    )


class Rollouts:
    """`look` is a whole look with nothing remembered from the one before."""

    def __init__(self, **spec: Any) -> None:
        self.cell = Cell(raw_resource(spec={"model": GOOD, **spec}))
        self.served_template: Object | None = None
        self.schedules = NO_TIME

    @property
    def status(self) -> Object:
        found: Object = self.cell.raw["status"]
        return found

    @property
    def deployment(self) -> Object:
        return self.cell.world.children["Deployment", "chat"]

    @property
    def template(self) -> Object:
        return copy.deepcopy(self.deployment["spec"]["template"])

    def look(self) -> Outcome:
        resource = parse_resource(self.cell.raw)
        hold, standing = after_rollback(resource), planned(resource)
        if hold is None:
            hold = while_paused(resource, standing)
        if hold is not None:
            served = resource.status.served
            started = None
            if served is not None and served.revision == hold.revision:
                started = self._of_plan(served.started_plan)
            resource, standing = held(resource, hold, self._kept(hold.revision), started)
        resource, _ = in_force(resource, self.schedules)
        observed = self.cell.world.observed()
        pods = choose_source(resource, standing, self.cell.rendering, observed)
        outcome = reconcile(Desired(resource, standing, pods, limits=AGREED), observed, NOW)
        for action in outcome.actions:
            self.cell.world.act(action)
        if outcome.status is not None:
            self.cell.raw["status"] = outcome.status
        return outcome

    def settle(self) -> None:
        """Looks until nothing changes; Deployments stay as far as they are."""
        for _ in range(10):
            outcome = self.look()
            self._seen()
            if not outcome.actions and outcome.status is None:
                return
        raise RuntimeError("does not come to rest")

    def serve(self) -> None:
        """Pods come to serve, as far as the Deployment is not paused."""
        self.settle()
        if ("Deployment", "chat") in self.cell.world.children:
            if not self.deployment["spec"].get("paused"):
                self.cell.world.roll_out()
                self.served_template = self.template
            self.settle()

    def fail(self) -> None:
        """The new pods do not become ready until the deadline; the old ones serve on."""
        self.settle()
        if ("Deployment", "chat") not in self.cell.world.children:
            return
        if self.deployment["spec"].get("paused") or self.template == self.served_template:
            return
        count = self.deployment["spec"]["replicas"]
        self.deployment["status"] = {
            "observedGeneration": self.deployment["metadata"]["generation"],
            "replicas": count + 1,
            "updatedReplicas": 1,
            "readyReplicas": count if self.served_template else 0,
            "conditions": [TIMED_OUT],
        }
        self.settle()

    def _seen(self) -> None:
        """The Deployment's controller sees what was applied; what serves already is done."""
        if ("Deployment", "chat") not in self.cell.world.children:
            return
        if self.template == self.served_template and not self.deployment["spec"].get("paused"):
            self.cell.world.roll_out()
        elif self.deployment.get("status"):
            status, generation = self.deployment["status"], self.deployment["metadata"]
            if status["observedGeneration"] != generation["generation"]:
                self.deployment["status"] = {
                    **status,
                    "observedGeneration": generation["generation"],
                    "updatedReplicas": 0,
                    "conditions": [],
                }

    def _kept(self, name: str) -> KeptPlan | None:
        item = self.cell.world.children.get((REVISION, name))
        found = kept_plans([item] if item else [], parse_resource(self.cell.raw))
        return found[0] if found else None

    def _of_plan(self, plan: str) -> KeptPlan | None:
        names = [
            (item["revision"], name)
            for (kind, name), item in self.cell.world.children.items()
            if kind == REVISION and item["metadata"]["labels"][PLAN_LABEL] == plan
        ]
        return self._kept(max(names)[1]) if names else None

"""Plain objects that the operator's tests share, and a simulated API server for its children."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plimsoll_operator.actions import Action, Apply, Renumber
from plimsoll_operator.api.status import (
    Alternative,
    Feasibility,
    PercentileValue,
    PlanPrecision,
    PlanStatus,
    Predicted,
)
from plimsoll_operator.difference import ATOMIC
from plimsoll_operator.observed import Observed
from plimsoll_operator.plans.choice import Standing
from plimsoll_operator.reconcile import Desired, Outcome, reconcile
from plimsoll_operator.render.children import ChildKey, key_of
from plimsoll_operator.render.rendering import Rendering
from plimsoll_operator.resource import Resource, parse_resource
from plimsoll_operator.rollouts.live_limits import NO_REPORT, EngineReport, LimitsReport
from plimsoll_operator.rollouts.pod_source import choose_source
from plimsoll_operator.scaling.autoscale import Decision, Memory
from plimsoll_runtime.core.limits import LiveLimits

IMAGE = Rendering("registry.example/runtime:1")
UID = "11111111-2222-3333-4444-555555555555"
NOW = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:05:00Z"


def raw_resource(**changes: Any) -> dict[str, Any]:
    """An LLMDeployment as the API server sends it; `changes` replace metadata, spec or status."""
    spec: dict[str, Any] = {"model": {"source": "builtin://tiny"}}
    spec.update(changes.pop("spec", {}))
    return {
        "metadata": {
            "namespace": "ml",
            "name": "chat",
            "uid": UID,
            "generation": 1,
            **changes.pop("metadata", {}),
        },
        "spec": spec,
        **changes,
    }


def resource(**changes: Any) -> Resource:
    """The same, parsed."""
    return parse_resource(raw_resource(**changes))


def cpu_plan(**changes: Any) -> PlanStatus:
    """A plan on half a core."""
    values: dict[str, Any] = {
        "summary": "cpu×0.5 bs8",
        "revision": "0123456789",
        "accelerator": "cpu",
        "cpu_cores": "0.5",
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "precision": PlanPrecision(weights="FP32", kv_cache="FP32"),
        "max_num_seqs": 8,
        "max_num_batched_tokens": 256,
        "max_model_len": 2048,
        "kv_cache_bytes": 64 * 2**20,
        "kv_cache_tokens": 16384,
        "memory_bytes": 700 * 2**20,
        "replicas": 1,
        "predicted": Predicted(
            time_to_first_token=PercentileValue(p95="120ms"),
            time_per_output_token=PercentileValue(p95="20ms"),
            requests_per_second_per_replica="3.5",
        ),
        "binding_constraint": "TTFT",
    }
    return PlanStatus(**{**values, **changes})


def gpu_plan(**changes: Any) -> PlanStatus:
    """A plan on two H200."""
    values: dict[str, Any] = {
        "summary": "H200×2 bs64",
        "accelerator": "NVIDIA-H200",
        "cpu_cores": None,
        "tensor_parallel_size": 2,
        "precision": PlanPrecision(weights="BF16", kv_cache="BF16"),
        "max_num_seqs": 64,
        "max_num_batched_tokens": 8192,
        "max_model_len": 8192,
        "kv_cache_bytes": 40 * 2**30,
        "memory_bytes": 120 * 2**30,
    }
    return cpu_plan(**{**values, **changes})


def merged(base: Any, wanted: Any) -> Any:
    """What server-side apply leaves: fields of `wanted` in place of those of `base`."""
    if isinstance(base, Mapping) and isinstance(wanted, Mapping):
        result = dict(base)
        for key, value in wanted.items():
            whole = key in ATOMIC
            result[key] = copy.deepcopy(value) if whole else merged(base.get(key), value)
        return result
    return copy.deepcopy(wanted)


ROLLED_OUT = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}


@dataclass
class World:
    """The children of one resource, as an API server and its controllers would keep them."""

    children: dict[ChildKey, dict[str, Any]] = field(default_factory=dict)
    pods: tuple[dict[str, Any], ...] = ()
    writes: int = 0

    def observed(self) -> Observed:
        return Observed(children=copy.deepcopy(self.children), pods=self.pods)

    def act(self, action: Action) -> None:
        self.writes += 1
        if isinstance(action, Apply):
            key = key_of(action.child)
            before = self.children.get(key, {})
            child = merged(before, action.child)
            if not action.child.get("spec", {}).get("paused"):  # a field that is ours alone
                child.get("spec", {}).pop("paused", None)
            metadata = child["metadata"]
            metadata.setdefault("uid", f"uid of {' '.join(key)}")
            metadata.setdefault("generation", 0)
            if before.get("spec") != child.get("spec"):
                metadata["generation"] += 1
            if key[0] == "Deployment":
                child["spec"].setdefault("minReadySeconds", 0)
            self.children[key] = child
        elif isinstance(action, Renumber):
            item = self.children[action.key]
            item["revision"] = action.number
            if action.owner is not None:
                item["metadata"]["ownerReferences"] = [dict(action.owner)]
        else:
            self.children.pop(action.key, None)

    def roll_out(self) -> None:
        """All Deployments reach what they are asked for."""
        for (kind, _), child in self.children.items():
            if kind == "Deployment":
                count = child["spec"]["replicas"]
                child["status"] = {
                    "observedGeneration": child["metadata"]["generation"],
                    "replicas": count,
                    "updatedReplicas": count,
                    "readyReplicas": count,
                    "conditions": [ROLLED_OUT],
                }

    def rendered(self) -> dict[ChildKey, dict[str, Any]]:
        """Children without what the server and other controllers add."""
        bare = copy.deepcopy(self.children)
        for child in bare.values():
            child.pop("status", None)
            for name in ("uid", "generation"):
                child["metadata"].pop(name, None)
        return bare


@dataclass
class Cell:
    """One resource in its world: reconciling writes children and status back."""

    raw: dict[str, Any]
    world: World = field(default_factory=World)
    rendering: Rendering = IMAGE

    def step(
        self,
        standing: Any,
        decision: Any = None,
        now: str = NOW,
        limits: LimitsReport = NO_REPORT,
    ) -> Outcome:
        resource = parse_resource(self.raw)
        observed = self.world.observed()
        pods = choose_source(resource, standing, self.rendering, observed)
        desired = Desired(resource, standing, pods, decision, limits=limits)
        outcome = reconcile(desired, observed, now)
        for action in outcome.actions:
            self.world.act(action)
        if outcome.status is not None:
            self.raw["status"] = outcome.status
        return outcome

    def settle(
        self,
        standing: Any,
        decision: Any = None,
        now: str = NOW,
        limits: LimitsReport = NO_REPORT,
    ) -> int:
        """Steps until nothing changes; the number of steps that changed something."""
        for count in range(20):
            outcome = self.step(standing, decision, now, limits)
            self.world.roll_out()
            if not outcome.actions and outcome.status is None:
                return count
        raise RuntimeError("does not come to rest")

    def edit(self, **spec: Any) -> None:
        self.raw["spec"] = {**self.raw["spec"], **spec}
        self.raw["metadata"]["generation"] += 1


INFEASIBLE = Feasibility(
    binding_constraint="TTFT p95 640ms is above 1ms",
    alternatives=[Alternative(change="slo.timeToFirstToken.p95: 640ms", effect="feasible")],
)
FEASIBLE = Standing(plan=cpu_plan(), inputs="a")


def condition(cell: Cell, kind: str) -> dict[str, Any]:
    """The condition of that type."""
    return next(item for item in cell.raw["status"]["conditions"] if item["type"] == kind)


def in_force(plan: PlanStatus, started: PlanStatus, replicas: int = 1) -> LimitsReport:
    """What so many engines that were started by another plan say once they run under `plan`."""
    live = LiveLimits(plan.max_num_seqs, plan.max_num_batched_tokens, plan.kv_cache_tokens)
    return LimitsReport(EngineReport(live, live, block_size=1).status(started, replicas))


def scaled_to(replicas: int) -> Decision:
    """What an autoscaler that measures decides."""
    return Decision(replicas, True, "QueueMeasured", "measured", Memory())

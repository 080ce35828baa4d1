"""A plan as a ControllerRevision keeps it, read as a plan or as the LLMDeployment of then."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from plimsoll_operator.api import API_VERSION, KIND
from plimsoll_operator.api.spec import WhenInfeasible
from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.observed import belongs
from plimsoll_operator.render.rendering import Rendering
from plimsoll_operator.resource import Resource
from plimsoll_operator.revisions.record import RecordError


@dataclass(frozen=True)
class KeptPlan:
    """A ControllerRevision; what it holds is read when it is asked for; `created` is RFC 3339."""

    name: str
    number: int
    data: Mapping[str, Any]
    created: str = ""

    @property
    def plan(self) -> PlanStatus:
        """The plan. Raises RecordError where this version cannot read it."""
        try:
            # Strictly: what a later version says of it besides may be what pods are started with.
            return PlanStatus.model_validate(self.data["plan"], extra="forbid")
        except (KeyError, TypeError, ValidationError) as error:
            raise RecordError(f"ControllerRevision {self.name} holds no plan: {error}") from error

    @property
    def inputs(self) -> Mapping[str, Any]:
        """What it was made from. Raises RecordError where there is nothing."""
        found = self.data.get("inputs")
        if not isinstance(found, Mapping):
            raise RecordError(f"ControllerRevision {self.name} does not say what it is made from")
        return found

    @property
    def rendering(self) -> Rendering | None:
        """What its pods were made by; None where it does not say, or by a later version."""
        return Rendering.read(self.data.get("rendering"))


def kept_plans(items: Iterable[Mapping[str, Any]], resource: Resource) -> list[KeptPlan]:
    """The revisions of a resource, oldest first."""
    found = [
        KeptPlan(
            str(item["metadata"]["name"]),
            int(item["revision"]),
            item.get("data") or {},
            str(item["metadata"].get("creationTimestamp", "")),
        )
        for item in items
        if belongs(item, resource.name, resource.uid)
    ]
    return sorted(found, key=lambda kept: kept.number)


def as_deployment(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """The LLMDeployment that a ControllerRevision was kept for, with its spec and plan of then.

    None for one of another owner, as StatefulSets have them too.
    """
    metadata = item.get("metadata") or {}
    owner = next((ref for ref in metadata.get("ownerReferences") or () if _ours(ref)), None)
    data = item.get("data")
    if owner is None or not isinstance(data, Mapping):
        return None
    inputs = data.get("inputs") or {}
    spec = inputs.get("spec") or {}
    status = {"plan": data.get("plan"), "planInputs": inputs.get("hash")}
    # Of others no plan comes into force that does not hold.
    if (spec.get("slo") or {}).get("whenInfeasible") != WhenInfeasible.BEST_EFFORT:
        status["planFeasible"] = True
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": owner.get("name"),
            "namespace": metadata.get("namespace"),
            "generation": inputs.get("generation"),
        },
        "spec": spec,
        "status": status,
    }


def _ours(reference: Mapping[str, Any]) -> bool:
    return reference.get("kind") == KIND and reference.get("apiVersion") == API_VERSION

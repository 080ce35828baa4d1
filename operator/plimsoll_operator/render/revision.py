"""The ControllerRevision that keeps a plan: Kubernetes' own type for such histories.

Its data never changes; `revision` is a number that grows, and is given anew to content that comes
back, as StatefulSets and DaemonSets do.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.render.labels import INPUTS_LABEL, PLAN_LABEL, child
from plimsoll_operator.render.rendering import Rendering
from plimsoll_operator.resource import Resource

KIND = "ControllerRevision"


class Sources(NamedTuple):
    """What a plan was made from, and by what its pods are."""

    inputs: Mapping[str, Any]
    rendering: Rendering


def revision_name(name: str, plan: PlanStatus, inputs: str, pods: str = "") -> str:
    """`NAME-` and ten hexadecimal digits over the whole plan, the hash of its inputs and that of
    what else of the spec `pods` are made from.

    Nodes are left out as in these: the same plan for the same request is the same revision.
    """
    facts = [plan.model_dump(mode="json", by_alias=True, exclude_none=True), inputs, pods]
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return f"{name}-{hashlib.sha256(canonical.encode()).hexdigest()[:10]}"


def revision(
    resource: Resource,
    name: str,
    plan: PlanStatus,
    sources: Sources,
    number: int,
) -> dict[str, Any]:
    """The object, prediction included. Its labels say which pods run by it, and for which inputs
    it was made."""
    data = {
        "plan": plan.model_dump(mode="json", by_alias=True, exclude_none=True),
        "inputs": dict(sources.inputs),
        "rendering": sources.rendering.plain(),
    }
    made = child(resource, "apps/v1", KIND, name, {"data": data, "revision": number})
    made["metadata"]["labels"] |= {
        PLAN_LABEL: plan.revision,
        INPUTS_LABEL: str(sources.inputs["hash"]),
    }
    return made

"""Pure: what people edit, and how it is taken back."""

from dataclasses import dataclass
from typing import Any

from e2e.day.schedule import Kind

Patch = dict[str, Any]
ANNOTATION = "example.com/day"


@dataclass(frozen=True)
class Edit:
    """Two merge patches of a spec."""

    there: Patch
    back: Patch


def edit(kind: Kind, number: int, spec: Patch) -> Edit:
    """Of an LLMDeployment with the spec `spec`; `number` makes an annotation another one each time.
    Raises KeyError for a kind that is no edit."""
    annotated = _template({ANNOTATION: str(number)})
    plain = _template({ANNOTATION: None})
    most, context = spec["scaling"]["maxReplicas"], spec["model"]["maxContextLength"]
    ttft = spec["slo"]["timeToFirstToken"]["p95"]
    return {
        Kind.MAX_REPLICAS: Edit(
            {"scaling": {"maxReplicas": most - 1}}, {"scaling": {"maxReplicas": most}}
        ),
        Kind.OBJECTIVE: Edit(
            {"slo": {"timeToFirstToken": {"p95": "1500ms"}}},
            {"slo": {"timeToFirstToken": {"p95": ttft}}},
        ),
        # Fewer tokens in a step than were planned, which running engines can take.
        Kind.LIMITS: Edit(
            {"pin": {"maxNumBatchedTokens": 64}}, {"pin": {"maxNumBatchedTokens": None}}
        ),
        Kind.CONTEXT: Edit(
            {"model": {"maxContextLength": context - 256}}, {"model": {"maxContextLength": context}}
        ),
        Kind.ANNOTATION: Edit(annotated, plain),
        Kind.KILLED_IN_ROLLOUT: Edit(annotated, plain),
        Kind.PAUSE: Edit({"rollout": {"paused": True}, **annotated}, plain),
    }[kind]


def _template(annotations: dict[str, str | None]) -> Patch:
    return {"template": {"metadata": {"annotations": annotations}}}

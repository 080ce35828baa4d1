"""Back to an earlier revision's spec: pure, from what is declared now and what was recorded."""

from collections.abc import Mapping, Sequence
from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.resource import Resource
from plimsoll_operator.revisions.kept_plan import KeptPlan
from plimsoll_operator.revisions.record import RecordError

Data = dict[str, Any]
LEFT_ALONE = ("replicas", "rollout", "access", "revisionHistoryLimit")
"""Parts of a spec that no revision is made for."""


def undo_target(
    resource: Resource, history: Sequence[KeptPlan], number: int | None = None
) -> KeptPlan:
    """The revision with that number, else the one that serves after a rollback, else the one before
    that in force. `history` is ordered oldest first. Raises RecordError where there is none."""
    known = ", ".join(str(kept.number) for kept in history) or "none"
    if number is not None:
        for kept in history:
            if kept.number == number:
                return kept
        raise RecordError(f"{resource.name} has no revision {number}; there are: {known}")
    current = resource.status.current_revision
    at = next((i for i, kept in enumerate(history) if kept.name == current), None)
    if at is not None and resource.status.rollback is not None:
        return history[at]
    if not at:
        raise RecordError(
            f"{resource.name} has no revision before the one in force; there are: {known}"
        )
    return history[at - 1]


def earlier_spec(now: Mapping[str, Any], then: LLMDeploymentSpec) -> Data:
    """The spec `then` as the API server stores it, with what is left alone as it is in `now`."""
    recorded = then.model_dump(mode="json", by_alias=True, exclude_none=True)
    spec = {name: value for name, value in recorded.items() if name not in LEFT_ALONE}
    kept = {name: now[name] for name in LEFT_ALONE if name in now}
    return {**_as_stored(spec, now), **kept}


def _as_stored(spec: Mapping[str, Any], now: Mapping[str, Any]) -> Data:
    """Without the empty lists that only our own types fill in."""
    stored: Data = {}
    for name, value in spec.items():
        there = now.get(name)
        if isinstance(value, Mapping):
            stored[name] = _as_stored(value, there if isinstance(there, Mapping) else {})
        elif value != [] or name in now:
            stored[name] = value
    return stored


def merge_patch(now: Mapping[str, Any], wanted: Mapping[str, Any]) -> Data:
    """The JSON merge patch (RFC 7396) that makes `wanted` of `now`."""
    patch: Data = {name: None for name in now if name not in wanted}
    for name, value in wanted.items():
        there = now.get(name)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            deeper = merge_patch(there, value)
            if deeper:
                patch[name] = deeper
        elif name not in now or there != value:
            patch[name] = value
    return patch

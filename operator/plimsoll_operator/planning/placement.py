"""Which nodes a template lets engine pods run on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plimsoll_operator.api.template import PodTemplate

_REPELLING_EFFECTS = ("NoSchedule", "NoExecute")


@dataclass(frozen=True)
class Toleration:
    """As in a pod: an empty key is any, an empty effect is every; `value` is None for any."""

    key: str
    value: str | None
    effect: str

    def tolerates(self, taint: Mapping[str, Any]) -> bool:
        """Whether pods may run in spite of `taint`."""
        return (
            self.key in ("", taint.get("key"))
            and self.effect in ("", taint.get("effect"))
            and self.value in (None, taint.get("value") or "")
        )


@dataclass(frozen=True)
class Placement:
    """Labels that nodes must have, and taints that they may. Affinity is left to the scheduler."""

    labels: frozenset[tuple[str, str]] = frozenset()
    tolerations: frozenset[Toleration] = frozenset()

    def selects(self, labels: Mapping[str, Any]) -> bool:
        """Whether a node with `labels` will do."""
        return all(labels.get(key) == value for key, value in self.labels)

    def tolerates(self, taint: Mapping[str, Any]) -> bool:
        """Whether any of the tolerations is of that taint."""
        return any(each.tolerates(taint) for each in self.tolerations)

    def admitted(self, node: Mapping[str, Any], tolerated: str | None = None) -> bool:
        """Whether a node with the spec `node` takes new pods of this placement: it is not cordoned,
        and each of its taints is tolerated, or is one of the key `tolerated`, or repels nobody."""
        return not node.get("unschedulable") and all(
            taint.get("effect") not in _REPELLING_EFFECTS
            or (tolerated is not None and taint.get("key") == tolerated)
            or self.tolerates(taint)
            for taint in node.get("taints") or ()
        )


ANYWHERE = Placement()


def placement(template: PodTemplate | None) -> Placement:
    """Of engine pods with that template. Expects one that `template_problems` finds nothing in."""
    if template is None:
        return ANYWHERE
    selector = template.spec.get("nodeSelector", {})
    return Placement(
        frozenset((str(key), str(value)) for key, value in selector.items()),
        frozenset(map(_toleration, template.spec.get("tolerations", []))),
    )


def _toleration(found: Mapping[str, Any]) -> Toleration:
    exists = found.get("operator", "Equal") == "Exists"
    return Toleration(
        str(found.get("key") or ""),
        None if exists else str(found.get("value") or ""),
        str(found.get("effect") or ""),
    )

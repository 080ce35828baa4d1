"""Who else writes a resource's spec from a repository, and would take a change back."""

from collections.abc import Mapping
from typing import Any

_MARKS = {
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "argocd.argoproj.io/instance": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
}
_MANAGERS = {
    "argocd-controller": "Argo CD",
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
}


def managed_by(raw: Mapping[str, Any]) -> str | None:
    """Argo CD or Flux where an object bears its marks, or it owns fields of it; else None."""
    metadata = raw["metadata"]
    marks = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    managers = (item.get("manager") for item in metadata.get("managedFields") or ())
    found = [_MARKS[mark] for mark in _MARKS if mark in marks]
    found += [_MANAGERS[name] for name in managers if name in _MANAGERS]
    return found[0] if found else None

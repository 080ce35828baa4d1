"""What manifests/ ships, read as documents."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "manifests"


def documents(*paths: Path) -> list[dict[str, Any]]:
    """All documents of YAML files."""
    return [item for path in paths for item in yaml.safe_load_all(path.read_text("utf-8")) if item]


def installed() -> list[dict[str, Any]]:
    """What `kubectl apply -f manifests/install.yaml` creates; a test holds it to base/."""
    return documents(MANIFESTS / "install.yaml")


def find(kind: str, name: str) -> dict[str, Any]:
    """One installed object."""
    (found,) = (
        item for item in installed() if (item["kind"], item["metadata"]["name"]) == (kind, name)
    )
    return found
